"""Image files cut down to their pixels."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.errors import InvalidImageError
from service.pipeline.inputs.containers import MAX_JPEG_SCANS, MAX_JPEG_SEGMENTS, exif_orientation, without_metadata
from service.pipeline.inputs.decode import ImageLimits, decode
from tests.support.hostile import jpeg_with, many_scans, png_chunk, png_with, segment
from tests.support.images import encoded, jpeg, photograph

EXIF = Image.Exif()
EXIF[0x0112] = 6
EXIF[0x010E] = "a description"


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    "data",
    [
        jpeg(),
        encoded(photograph(), "JPEG", progressive=True, comment="hello"),
        encoded(photograph().convert("L"), "JPEG"),
        encoded(photograph().convert("CMYK"), "JPEG", icc_profile=b"x" * 100_000),
        encoded(photograph(), "PNG", icc_profile=b"x" * 1_000),
        encoded(photograph().convert("P"), "PNG", transparency=3),
        encoded(photograph(), "WEBP"),
    ],
)
def test_no_pixel_changes(data: bytes) -> None:
    stripped, orientation = without_metadata(data)
    assert np.array_equal(pixels(stripped), pixels(data))
    assert orientation == 1


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_metadata_is_gone_and_its_orientation_is_told(image_format: str) -> None:
    stripped, orientation = without_metadata(encoded(photograph(), image_format, exif=EXIF))
    assert orientation == 6
    assert b"a description" not in stripped
    assert stripped == without_metadata(encoded(photograph(), image_format))[0]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_set_upright_in_every_format(image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photograph(), image_format, exif=exif, **({"lossless": True} if image_format == "WEBP" else {}))
    upright = decode(data, ImageLimits(1 << 20, 1 << 20), target_size=64)
    assert upright.size == ((80, 60) if orientation < 5 else (60, 80))
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(upright), np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_is_found_in_either_byte_order(order: str) -> None:
    entries = [(0x010F, 2, 4, b"abc\0"), (0x0112, 3, 1, struct.pack(f"{order}HH", 8, 0))]
    directory = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    start = b"II*\0" if order == "<" else b"MM\0*"
    tiff = start + struct.pack(f"{order}IH", 8, len(entries)) + directory
    assert exif_orientation(tiff) == exif_orientation(b"Exif\0\0" + tiff) == 8


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0\x06\0\0\0",
        b"XX*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
    ],
)
def test_a_damaged_orientation_is_upright(exif: bytes) -> None:
    assert exif_orientation(exif) == 1


def test_what_follows_the_first_image_of_a_jpeg_is_left_out() -> None:
    # Telephones append films; any two bytes of them may look like the start of a scan.
    film = b"\xff\xda" * 10 * MAX_JPEG_SCANS
    assert without_metadata(jpeg() + film)[0] == without_metadata(jpeg())[0]
    several = encoded(photograph(), "MPO", save_all=True, append_images=[photograph(seed=1)])
    assert np.array_equal(pixels(without_metadata(several)[0]), pixels(several))


def test_a_thumbnail_does_not_end_the_picture() -> None:
    thumbnail = segment(0xE1, b"Exif\0\0" + jpeg(16, 16))
    assert without_metadata(jpeg_with(thumbnail))[0] == without_metadata(jpeg())[0]


def test_scans_and_segments_have_a_limit() -> None:
    usual = 10
    assert without_metadata(many_scans(MAX_JPEG_SCANS - usual, side=64))
    with pytest.raises(InvalidImageError, match="scans"):
        without_metadata(many_scans(MAX_JPEG_SCANS, side=64))
    assert without_metadata(jpeg_with(segment(0xE1, b"") * (MAX_JPEG_SEGMENTS - 100)))
    with pytest.raises(InvalidImageError, match="segments"):
        without_metadata(jpeg_with(segment(0xE1, b"") * MAX_JPEG_SEGMENTS))


@pytest.mark.parametrize("data", [b"\xff\xd8\xff", jpeg()[:100], b"\xff\xd8\xff\xd9", b"\xff\xd8" + b"\xff" * 9_000])
def test_a_jpeg_without_pixels_is_damaged(data: bytes) -> None:
    with pytest.raises(InvalidImageError, match="damaged"):
        without_metadata(data)


@pytest.mark.parametrize("length", [0, 5, 2**31 - 1, 2**32 - 1])
def test_a_png_chunk_that_lies_about_its_length_is_survived(length: int) -> None:
    lying = struct.pack(">I", length) + png_chunk(b"tEXt", b"k\0v")[4:]
    assert without_metadata(png_with(lying))[1] == 1
