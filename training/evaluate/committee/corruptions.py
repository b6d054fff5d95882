"""Pictures made worse, at three strengths: blur, noise, JPEG, rotation, contrast.

A picture is first brought to `CANVAS_PX` along its shorter side, so that a strength means the same for every source.
What comes back is a file again, which goes through the gateway's own decoding and preprocessing like any other.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from service.pipeline.inputs.decode import decode
from training.data.rows import Row
from training.data.samples import LIMITS
from training.evaluate.statistics import generator

CANVAS_PX = 64
STRENGTHS = (1, 2, 3)

BLUR_PX = (0.7, 1.4, 2.4)
"""Standard deviation."""
NOISE = (0.06, 0.14, 0.28)
"""Standard deviation, as a share of the range."""
JPEG_QUALITY = (30, 12, 5)
ROTATION_DEG = (10.0, 25.0, 60.0)
CONTRAST = (0.6, 0.35, 0.15)
"""What is left of it."""

Picture = Image.Image


def blur(picture: Picture, strength: int, rng: np.random.Generator) -> Picture:  # noqa: ARG001 - nothing is random
    """Gaussian."""
    return picture.filter(ImageFilter.GaussianBlur(BLUR_PX[strength - 1]))


def noise(picture: Picture, strength: int, rng: np.random.Generator) -> Picture:
    """Gaussian, of its own in every pixel and channel."""
    pixels = np.asarray(picture, dtype=np.float64)
    noisy = pixels + rng.normal(0, 255 * NOISE[strength - 1], pixels.shape)
    return Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8))


def jpeg(picture: Picture, strength: int, rng: np.random.Generator) -> Picture:  # noqa: ARG001 - nothing is random
    """What is left after JPEG at a low quality."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY[strength - 1])
    with Image.open(buffer) as read:
        return read.convert("RGB")


def rotation(picture: Picture, strength: int, rng: np.random.Generator) -> Picture:
    """By the strength's angle, to either side; corners take the mean colour of the border."""
    angle = ROTATION_DEG[strength - 1] * rng.choice((-1, 1))
    pixels = np.asarray(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).mean(axis=0).round()
    fill = (int(border[0]), int(border[1]), int(border[2]))
    return picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=fill)


def contrast(picture: Picture, strength: int, rng: np.random.Generator) -> Picture:  # noqa: ARG001 - nothing is random
    """Towards the picture's mean grey."""
    return ImageEnhance.Contrast(picture).enhance(CONTRAST[strength - 1])


CORRUPTIONS: dict[str, Callable[[Picture, int, np.random.Generator], Picture]] = {
    "blur": blur,
    "noise": noise,
    "JPEG": jpeg,
    "rotation": rotation,
    "contrast": contrast,
}
CLEAN = "clean"
VARIANTS = ((CLEAN, 0), *((name, strength) for name in CORRUPTIONS for strength in STRENGTHS))


def corrupted(row: Row, name: str, strength: int) -> Row:
    """The row with another picture, a PNG; `CLEAN` at strength 0 is the picture on its canvas.

    What is random follows from the picture's digest and the variant. Raises `RequestError` for a picture that cannot
    be decoded, `KeyError` for a corruption that there is not.
    """
    picture = canvas(row)
    if name != CLEAN:
        picture = CORRUPTIONS[name](picture, strength, generator(f"{name} {strength} {row.digest}"))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    data = buffer.getvalue()
    return replace(row, image=data, digest=hashlib.sha256(data).hexdigest())


def canvas(row: Row) -> Picture:
    """The decoded picture, `CANVAS_PX` along its shorter side where that was longer."""
    picture = decode(row.image, LIMITS, CANVAS_PX)
    scale = CANVAS_PX / min(picture.size)
    if scale >= 1:
        return picture
    size = (max(CANVAS_PX, round(picture.width * scale)), max(CANVAS_PX, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC)
