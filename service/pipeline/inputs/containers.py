"""What a decoder needs of an image file, without its metadata.

No pixel depends on metadata, but Pillow's readers of it warn, log values, and take quadratic time over a file made for
that. So JPEG and PNG files are cut down to their pixels first; of EXIF only the orientation is read, here.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from service.errors import InvalidImageError

ByteOrder = Literal["little", "big"]

DAMAGED: Final = "The image is damaged or truncated. Check the file and send it whole."

JPEG_START: Final = b"\xff\xd8\xff"
JPEG_MARKER: Final = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd7])", re.DOTALL)  # stuffing and restarts are data
START_OF_SCAN, END_OF_IMAGE, EXIF_SEGMENT = b"\xda", b"\xd9", b"\xe1"
JPEG_METADATA: Final = frozenset(bytes([marker]) for marker in (*range(0xE0, 0xF0), 0xFE))
JPEG_COLOUR: Final = (b"JFIF\0", b"Adobe")
"""Segments that look like metadata but say what the colour channels mean."""

MAX_JPEG_SEGMENTS: Final = 2_000
"""Before the first scan. A profile or a depth map of 16 MB takes 256; readers take time quadratic in this number."""
MAX_JPEG_SCANS: Final = 100
"""Encoders write about ten. A scan can be 12 bytes long and still costs a pass over all pixels, so that 16 MB of scans
would keep a decoder busy for hours."""

PNG_START: Final = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})

EXIF_START: Final = b"Exif\0\0"
TIFF_ORDER: Final[dict[bytes, ByteOrder]] = {b"II*\0": "little", b"MM\0*": "big"}
ORIENTATION_TAG: Final = 0x0112
UPRIGHT: Final = 1
SHORT: Final = 3


def without_metadata(data: bytes) -> tuple[bytes, int]:
    """The file cut down to its pixels, and its EXIF orientation (1 to 8). Formats but JPEG and PNG stay as they are.

    Raises `InvalidImageError` for a JPEG whose structure alone would cost minutes.
    """
    if data.startswith(JPEG_START):
        return _jpeg_without_metadata(data)
    if data.startswith(PNG_START):
        return _png_without_metadata(data)
    return data, UPRIGHT


def exif_orientation(exif: bytes) -> int:
    """The orientation that an EXIF block names; 1 (upright) when it names none, or is damaged.

    Source: Exif 2.32, section 4.6.4 (tag 0x0112, a SHORT in the first directory of a TIFF structure).
    """
    tiff = exif.removeprefix(EXIF_START)
    order = TIFF_ORDER.get(tiff[:4])
    if order is None:
        return UPRIGHT
    start = _number(tiff[4:8], order)
    for entry in range(start + 2, start + 2 + 12 * _number(tiff[start : start + 2], order), 12):
        if _number(tiff[entry : entry + 2], order) == ORIENTATION_TAG:
            is_short = _number(tiff[entry + 2 : entry + 4], order) == SHORT
            value = _number(tiff[entry + 8 : entry + 10], order)
            return value if is_short and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def _number(data: bytes, order: ByteOrder) -> int:
    return int.from_bytes(data, order)


def _jpeg_without_metadata(data: bytes) -> tuple[bytes, int]:
    kept: list[bytes] = []
    copied, position, exif = 0, 2, b""
    for _ in range(MAX_JPEG_SEGMENTS):
        found = JPEG_MARKER.search(data, position)
        if found is None or found[1] == END_OF_IMAGE:
            raise InvalidImageError(DAMAGED)
        if found[1] == START_OF_SCAN:
            end = _end_of_jpeg(data, found.end())
            return b"".join([*kept, data[copied:end]]), exif_orientation(exif)
        content = found.end() + 2
        position = max(content, found.end() + _number(data[found.end() : content], "big"))
        if found[1] in JPEG_METADATA and not data.startswith(JPEG_COLOUR, content):
            if found[1] == EXIF_SEGMENT and data.startswith(EXIF_START, content) and not exif:
                exif = data[content:position]
            kept.append(data[copied : found.start()])
            copied = position
    raise InvalidImageError(f"The JPEG has more than {MAX_JPEG_SEGMENTS:,} segments before its pixels. Save it anew.")


def _end_of_jpeg(data: bytes, first_scan: int) -> int:
    """Where the first image of the file ends; telephones append films and further images."""
    found = data.find(b"\xff" + END_OF_IMAGE, first_scan)
    end = found + 2 if found >= 0 else len(data)
    if data.count(b"\xff" + START_OF_SCAN, first_scan, end) >= MAX_JPEG_SCANS:
        raise InvalidImageError(f"The JPEG has more than {MAX_JPEG_SCANS} scans. Save it anew with fewer.")
    return end


def _png_without_metadata(data: bytes) -> tuple[bytes, int]:
    kept, position, exif, kind = [PNG_START], len(PNG_START), b"", b""
    while position < len(data) and kind != b"IEND":
        length, kind = _number(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 12 + length  # length, kind and checksum are four bytes each
        if kind in PNG_PIXELS:
            kept.append(data[position:end])
        elif kind == b"eXIf":
            exif = data[position + 8 : end - 4]
        position = end
    return b"".join(kept), exif_orientation(exif)
