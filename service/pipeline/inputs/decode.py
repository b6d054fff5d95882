"""Bytes to an upright RGB picture: every format, colour mode and orientation that users send, and nothing else.

Pillow reads the header first, so byte and pixel limits are applied before any pixel is decoded.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from service.errors import ImageTooLargeError, InvalidImageError
from service.pipeline.inputs.containers import DAMAGED, exif_orientation, without_metadata

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_SIDE: Final = 1_000_000
"""Pixels along one side. Resizing needs memory in proportion to the longer side alone: 1.3 GB for 50,000,000 by 1."""
UPRIGHT_BY: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an EXIF orientation."""
# Our own limit is checked on the header below and is lower; Pillow's is a process-wide warning that names no request.
Image.MAX_IMAGE_PIXELS = None

# What Pillow's readers raise on damaged input. Anything else is a bug and is treated as one.
DECODE_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    AssertionError,
    struct.error,
    zlib.error,
)


BAND_PIXELS: Final = 1 << 18
REDUCED_TO_AT_LEAST: Final = 4
"""In units of the target size: what keeps an embedding's cosine to the full decode above 0.999, which is promised
(figures: `docs/decisions/0003-decode-and-preprocess.md`)."""
REDUCTIONS: Final = (8, 4, 2)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    max_bytes: int
    max_pixels: int


def decode(data: bytes, limits: ImageLimits, target_size: int) -> Image.Image:
    """The picture in `data`: mode RGB, upright, alpha over white, first frame.

    A JPEG may come back reduced by the decoder itself, which leaves the later resize enough pixels to average
    (embedding cosine to the full decode >= 0.999; see `reduction`).

    Raises `InvalidImageError` or `ImageTooLargeError`.
    """
    check_bytes(data, limits)
    pixels, orientation = without_metadata(data)
    try:
        with Image.open(io.BytesIO(pixels), formats=FORMATS) as image:
            _check_pixels(image, limits)
            if image.format == "JPEG":
                factor = reduction(*image.size, target_size)
                image.draft(None, (image.width // factor, image.height // factor))
            image.load()
            if image.format == "WEBP":
                orientation = exif_orientation(image.info.get("exif", b""))
            return _to_rgb(_upright(image, orientation))
    except UnidentifiedImageError as error:
        raise InvalidImageError(
            f"This is not an image that Quorum reads. Send one of {', '.join(FORMATS)}; others have to be converted."
        ) from error
    except DECODE_ERRORS as error:
        raise InvalidImageError(DAMAGED) from error


def reduction(width: int, height: int, target_size: int) -> int:
    """By how much a decoder may reduce a picture for a target size: 8, 4, 2 or 1.

    Only by what divides both sides: the decoder rounds up, and the stretch of half a pixel that comes of it already
    turns an embedding by more than all the rest of reducing does.
    """
    smallest = REDUCED_TO_AT_LEAST * target_size
    fitting = (
        factor
        for factor in REDUCTIONS
        if width % factor == height % factor == 0 and min(width, height) >= factor * smallest
    )
    return next(fitting, 1)


def check_bytes(data: bytes, limits: ImageLimits) -> None:
    """Refuse an empty image and one of too many bytes."""
    if not data:
        raise InvalidImageError("The image is empty (0 bytes). Send the whole file.")
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"The image has {len(data):,} bytes, the limit is {limits.max_bytes:,}. Send a smaller or stronger "
            "compressed one."
        )


def _check_pixels(image: Image.Image, limits: ImageLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels or max(width, height) > MAX_SIDE:
        raise ImageTooLargeError(
            f"The image has {width} x {height} pixels; the limit is {limits.max_pixels:,} in all and {MAX_SIDE:,} "
            "along one side. Scale it down."
        )


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(UPRIGHT_BY[orientation]) if orientation in UPRIGHT_BY else image


def _to_rgb(image: Image.Image) -> Image.Image:
    """A picture of its own, which outlives the file object that closes behind `image`.

    By bands of rows: what conversions need beside source and result would else be a multiple of a large picture.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.copy()
    if image.mode in ("P", "PA") and image.palette is None:
        raise ValueError("a palette image without a palette")  # a crop of it would make up an empty one
    rows = max(1, BAND_PIXELS // image.width)
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        rgb.paste(_band_to_rgb(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return rgb


def _band_to_rgb(band: Image.Image) -> Image.Image:
    if band.mode.startswith("I"):
        band = _to_eight_bits(band)
    if band.has_transparency_data:
        rgba = band.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return band.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """16-bit greyscale (modes I;16, I;16B, I): Pillow's own conversion clips at 255 instead of scaling."""
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8))
