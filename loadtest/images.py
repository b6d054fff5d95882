"""Real JPEGs of a photograph's size, made from the playground's sample pictures.

The repository holds only small pictures under permissive licences. A load test needs what a client would send: a decode
of 500x375 pixels at a realistic 30-60 kB, and distinct bytes in every request, so that no embedding cache can answer.
So each picture here is a mosaic of enlarged samples with its own crops, light and sensor grain.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SIZE = (500, 375)
GRID = (4, 3)
QUALITY = 85
GRAIN_STD = 2.5
SUFFIXES = {".jpg", ".jpeg", ".webp"}  # the photographs; what is drawn is a PNG
STAMP_BYTES = 18
START_OF_IMAGE = b"\xff\xd8"
COMMENT = b"\xff\xfe"


def read_samples(folder: Path) -> list[Image.Image]:
    """Every photograph under `folder`, in the order of its path. Raises `FileNotFoundError` when there is none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"{folder}: no photographs; name a folder of JPEG or WebP files with --samples")
    samples = []
    for path in paths:
        with Image.open(path) as picture:
            samples.append(picture.convert("RGB"))
    return samples


def make_jpegs(samples: Sequence[Image.Image], count: int, seed: int = 0) -> list[bytes]:
    """`count` different JPEGs of 500x375 pixels; the same samples, count and seed give the same bytes (per Pillow)."""
    return [_jpeg(_mosaic(samples, np.random.default_rng((seed, index)))) for index in range(count)]


def stamp(jpeg_number: int, salt: str = "0000") -> bytes:
    """The first 18 bytes of a JPEG that carries its own number in a comment: the pixels stay, the digest does not.

    It takes the place of a JPEG's first two bytes (`START_OF_IMAGE`). `salt` is four ASCII characters that tell one run
    from another. 18 is a multiple of 3, so base64 of stamp and rest can be made apart and joined.
    """
    text = f"{salt:4.4}{jpeg_number % 10**8:08d}".encode("ascii")
    return START_OF_IMAGE + COMMENT + (len(text) + 2).to_bytes(2, "big") + text


def _mosaic(samples: Sequence[Image.Image], rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8[375, 500, 3]: a grid of enlarged crops in varying light, under fresh grain."""
    columns, rows = GRID
    width, height = SIZE[0] // columns, SIZE[1] // rows
    canvas = Image.new("RGB", SIZE)
    for cell, sample in enumerate(rng.integers(len(samples), size=columns * rows).tolist()):
        tile = _tile(samples[sample], (width, height), rng)
        canvas.paste(tile, (cell % columns * width, cell // columns * height))
    light = rng.uniform(0.85, 1.1)
    grain = rng.normal(0.0, GRAIN_STD, (SIZE[1], SIZE[0], 1))
    pixels: NDArray[np.uint8] = np.clip(np.asarray(canvas) * light + grain, 0, 255).astype(np.uint8)
    return pixels


def _tile(sample: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """The sample, mirrored or not, cut by up to a fifth at a random place and enlarged to `size` (width, height)."""
    cut = rng.uniform(0.8, 1.0)
    width, height = sample.width * cut, sample.height * cut
    left, top = rng.uniform(0, sample.width - width), rng.uniform(0, sample.height - height)
    part = sample.crop((int(left), int(top), int(left + width), int(top + height)))
    if rng.random() < 0.5:
        part = ImageOps.mirror(part)
    return ImageOps.fit(part, size, Image.Resampling.LANCZOS)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
