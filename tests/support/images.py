"""Pictures for tests, drawn instead of stored."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def photograph(width: int = 80, height: int = 60, seed: int = 0) -> Image.Image:
    """Smooth coloured blobs with some noise: compresses and resizes like a photograph."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = smooth + random.integers(-8, 9, smooth.shape, dtype=np.int16)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, image_format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def jpeg(width: int = 80, height: int = 60, seed: int = 0) -> bytes:
    return encoded(photograph(width, height, seed), "JPEG", quality=90)


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png_header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to no data: what it would decode to is only in its header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def resize_then_crop(image: Image.Image, size: int, resampling: Image.Resampling) -> np.ndarray:
    """The reference in two steps: the whole picture is resized, then cut."""
    short = min(image.size)
    resized = image.resize((int(size * image.width / short), int(size * image.height / short)), resampling)
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)))
