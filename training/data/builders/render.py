"""Arrays, files and drawings to encoded pictures with the same bytes on every run."""

import io
import re
from typing import Final

import numpy as np
import numpy.typing as npt
import resvg_py
from PIL import Image

SIDE: Final = 64
"""Pixels along each side of a drawing: what the zoo's towers take, so it is never resampled again."""
PHOTO_SIDE: Final = 80
"""Pixels along the short side of a photograph: a little more than towers take, which leaves the resize a choice."""
LARGEST_SIDE: Final = 512
"""Longer side, in pixels, that an SVG is drawn at to enlarge a small part of its page."""

WHITE: Final = (255, 255, 255)
SLATE: Final = (84, 96, 112)
"""Behind drawings that white would swallow."""
FAINT: Final = 12.0
"""A drawing whose visible pixels lie closer to white than this, on average over 0..255, cannot be seen on white."""
BLANK: Final = 2.0
"""Standard deviation over 0..255 below which a picture shows nothing."""

_ROOT = re.compile(r"<(?:svg:)?svg\b[^>]*>", re.DOTALL)
_SIZE = re.compile(r"""\s(width|height)\s*=\s*["']\s*([^"']*?)\s*["']""")
_VIEW_BOX = re.compile(r"""\sviewBox\s*=\s*["']([^"']*)["']""")
_LENGTH = re.compile(r"([0-9.]+(?:e[-+]?\d+)?)\s*(px|pt|pc|mm|cm|in)?")
_PIXELS = {None: 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}


class RenderError(ValueError):
    """A picture cannot be drawn; the message says why in a few words."""


def png(image: Image.Image) -> bytes:
    """A picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def grey_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """uint8[h, w] as greyscale PNG."""
    return png(Image.fromarray(pixels))


def webp(image: Image.Image) -> bytes:
    """An RGB picture as lossless WebP, about two thirds of a PNG. More effort takes four times as long and saves 4%."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", lossless=True, quality=50, method=2)
    return buffer.getvalue()


def photo_webp(image: Image.Image) -> bytes:
    """An RGB photograph as WebP of high quality, its short side reduced to `PHOTO_SIDE`."""
    factor = PHOTO_SIDE / min(image.size)
    if factor < 1:
        size = (max(PHOTO_SIDE, round(image.width * factor)), max(PHOTO_SIDE, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=90, method=4)
    return buffer.getvalue()


def _length(text: str | None) -> float:
    """A CSS length in pixels. Raises `RenderError` for a relative or missing one."""
    match = _LENGTH.fullmatch(text or "")
    if match is None or float(match[1]) <= 0:
        raise RenderError("no usable size")
    return float(match[1]) * _PIXELS[match[2]]


def _with_size(svg: str, longest: int) -> str:
    """The document with a view box (made from width and height where there is none) and `longest` pixels on its longer
    side."""
    root = _ROOT.search(svg)
    if root is None:
        raise RenderError("no svg element")
    tag, sizes, box = root[0], dict(_SIZE.findall(root[0])), _VIEW_BOX.search(root[0])
    numbers = [float(part) for part in re.split(r"[\s,]+", box[1].strip())] if box else []
    if len(numbers) != 4 or min(numbers[2:]) <= 0:
        numbers = [0.0, 0.0, _length(sizes.get("width")), _length(sizes.get("height"))]
    scale = longest / max(numbers[2:])
    bare = _VIEW_BOX.sub("", _SIZE.sub("", tag))
    name = re.match(r"<(?:svg:)?svg", bare)
    start = len(name[0]) if name else 0
    new = (
        f' viewBox="{" ".join(f"{number:g}" for number in numbers)}"'
        f' width="{max(1.0, numbers[2] * scale):g}" height="{max(1.0, numbers[3] * scale):g}"'
    )
    return svg[: root.start()] + bare[:start] + new + bare[start:] + svg[root.end() :]


def draw_svg(svg: str, longest: int = SIDE) -> Image.Image:
    """An SVG document as RGBA, `longest` pixels along its longer side.

    System fonts are not used (they differ between machines), so text in a drawing is left out. Raises `RenderError`.
    """
    try:
        data = resvg_py.svg_to_bytes(svg_string=_with_size(svg, longest), skip_system_fonts=True)
    except ValueError as error:
        raise RenderError(str(error) or "not a readable SVG") from error
    with Image.open(io.BytesIO(bytes(data))) as image:
        return image.convert("RGBA")


def trim(image: Image.Image, margin: float = 0.04) -> Image.Image:
    """An RGBA picture cut to its visible part, with a margin in units of the longer side. Raises `RenderError` where
    nothing is visible."""
    box = image.getchannel("A").point([0 if alpha < 8 else 255 for alpha in range(256)]).getbbox()
    if box is None:
        raise RenderError("blank")
    extra = round(margin * max(box[2] - box[0], box[3] - box[1]))
    return image.crop((box[0] - extra, box[1] - extra, box[2] + extra, box[3] + extra))


def backdrop(image: Image.Image) -> tuple[int, int, int]:
    """What to put behind an RGBA picture: white, or slate where nothing would be seen on white."""
    pixels = np.asarray(image, dtype=np.float32)
    alpha = pixels[..., 3:] / 255
    weight = float(alpha.sum())
    if weight == 0:
        return WHITE
    distance = float(((255 - pixels[..., :3]) * alpha).mean(axis=2).sum()) / weight
    return SLATE if distance < FAINT else WHITE


def square(image: Image.Image, side: int = SIDE, background: tuple[int, int, int] | None = None) -> Image.Image:
    """An RGBA picture whole, centred on a square of `side` pixels: RGB. Raises `RenderError` where nothing shows."""
    canvas = Image.new("RGB", (side, side), background or backdrop(image))
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    small = image if size == image.size else _resize(image, size)
    canvas.paste(small.convert("RGB"), ((side - size[0]) // 2, (side - size[1]) // 2), small.getchannel("A"))
    if float(np.asarray(canvas, dtype=np.float32).std(axis=(0, 1)).max()) < BLANK:
        raise RenderError("blank")
    return canvas


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resample with premultiplied alpha: the colour hidden under full transparency must not bleed into the edge."""
    return image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")


def cut_out(svg: str, side: int = SIDE) -> Image.Image:
    """An SVG document as RGBA, cut to what it shows, some `side` pixels along its longer side. Raises `RenderError`."""
    image = trim(draw_svg(svg, side))
    if max(image.size) < 0.9 * side:
        # Much of the page is empty: draw it again, so large that the part that shows has the full resolution.
        image = trim(draw_svg(svg, min(LARGEST_SIDE, side * side // max(image.size))))
    return image


def drawing(svg: str, background: tuple[int, int, int] | None = None) -> bytes:
    """An SVG document as an encoded drawing, cut to what it shows. Raises `RenderError`."""
    return webp(square(cut_out(svg), background=background))
