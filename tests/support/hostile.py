"""Image files made to hurt whoever reads them. All are small; what they cost is in what they claim."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final

from PIL import Image

from tests.support.images import encoded, jpeg, photograph, png_header_of


def segment(marker: int, content: bytes) -> bytes:
    """A JPEG segment."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(segments: bytes) -> bytes:
    whole = jpeg()
    return whole[:2] + segments + whole[2:]


def png_with(chunks: bytes) -> bytes:
    whole = encoded(photograph(), "PNG")
    at = whole.index(b"IDAT") - 4
    return whole[:at] + chunks + whole[at:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def exif_of(entries: int, size: int) -> bytes:
    """A TIFF directory of `entries` tags, all of which have the same `size` bytes as their value."""
    start = 8 + 2 + 12 * entries + 4
    directory = b"".join(struct.pack("<HHII", tag + 1, 7, size, start) for tag in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + directory + bytes(4) + b"A" * size


def many_scans(scans: int, side: int = 7_000) -> bytes:
    """A progressive JPEG whose last pass over all pixels, a dozen bytes, is repeated."""
    whole = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    end = whole.rfind(b"\xff\xd9")
    return whole[:end] + whole[whole.rfind(b"\xff\xda") : end] * scans + whole[end:]


def webp_canvas(width: int, height: int) -> bytes:
    """An animated WebP whose only frame is small and whose canvas is not."""
    frame = encoded(photograph(), "WEBP")[12:]
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    header = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size
    content = bytes(6) + struct.pack("<I", 79)[:3] + struct.pack("<I", 59)[:3] + bytes(4) + frame
    animation = b"ANIM" + struct.pack("<I", 6) + bytes(6) + b"ANMF" + struct.pack("<I", len(content)) + content
    body = b"WEBP" + header + animation
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_canvas() -> bytes:
    whole = encoded(Image.new("P", (4, 4)), "GIF")
    return whole[:6] + b"\xff" * 4 + whole[10:]


def gif_comment(blocks: int) -> bytes:
    """A GIF before whose frame there is a comment in blocks of one byte."""
    whole = encoded(Image.new("P", (4, 4)), "GIF")
    at = whole.index(b"\x2c\0\0\0\0")
    return whole[:at] + b"\x21\xfe" + b"\x01a" * blocks + b"\0" + whole[at:]


def bmp_of(width: int, height: int) -> bytes:
    whole = bytearray(encoded(Image.new("RGB", (4, 4)), "BMP"))
    whole[18:26] = struct.pack("<ii", width, height)
    return bytes(whole)


BOMBS: Final[dict[str, Callable[[], bytes]]] = {
    "png 50,000 x 50,000": lambda: png_header_of(50_000, 50_000),
    "png a line of 40,000,000": lambda: encoded(Image.new("1", (40_000_000, 1)), "PNG"),
    "png text that unpacks to 60 MB": lambda: png_with(
        png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000), 9)) * 60
    ),
    "png text that unpacks to 300 MB": lambda: png_with(
        png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(300_000_000), 9))
    ),
    "png profile that unpacks to 300 MB": lambda: png_with(
        png_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(300_000_000), 9))
    ),
    "png 50,000 chunks": lambda: png_with(png_chunk(b"prVt", b"") * 50_000),
    "png exif with overlapping values": lambda: png_with(png_chunk(b"eXIf", exif_of(500, 1_000_000))),
    "png frames without end": lambda: png_with(png_chunk(b"acTL", struct.pack(">II", 0x7FFFFFFF, 0))),
    "jpeg 100,000 scans": lambda: many_scans(100_000, side=2_000),
    "jpeg 60,000 exif segments": lambda: jpeg_with(segment(0xE1, b"Exif\0\0" + b"x" * 10) * 60_000),
    "jpeg 100,000 comments": lambda: jpeg_with(segment(0xFE, b"") * 100_000),
    "jpeg exif with overlapping values": lambda: jpeg_with(segment(0xE1, b"Exif\0\0" + exif_of(2_600, 30_000))),
    "webp 16,383 x 16,383": lambda: webp_canvas(16_383, 16_383),
    "webp 65,000 x 65,000": lambda: webp_canvas(65_000, 65_000),
    "webp canvas beyond its format": lambda: webp_canvas(1 << 24, 1 << 24),
    "gif 65,535 x 65,535": gif_canvas,
    "gif comment of 200,000 blocks": lambda: gif_comment(200_000),
    "bmp 2,147,483,647 wide": lambda: bmp_of(2**31 - 1, 1),
    "bmp of negative width": lambda: bmp_of(-4, 4),
    "bmp of negative height": lambda: bmp_of(60_000, -60_000),
}
