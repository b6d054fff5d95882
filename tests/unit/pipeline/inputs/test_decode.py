from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import ImageTooLargeError, InvalidImageError
from service.pipeline.inputs.decode import ImageLimits, decode, reduction
from tests.support.images import encoded, jpeg, photograph, png_header_of

LIMITS = ImageLimits(max_bytes=10_000_000, max_pixels=1_000_000)
TARGET = 64


def pixels(data: bytes, target: int = TARGET) -> np.ndarray[Any, Any]:
    image = decode(data, LIMITS, target)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("GIF", {}), ("JPEG", {"quality": 98, "subsampling": 0})],
)
def test_every_format_gives_the_same_picture(image_format: str, options: dict[str, Any]) -> None:
    original = photograph()
    decoded = pixels(encoded(original, image_format, **options))
    assert np.abs(decoded.astype(int) - np.asarray(original)).mean() < (12 if image_format == "GIF" else 3)


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(image_format: str) -> None:
    red, blue = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    animation = encoded(red, image_format, save_all=True, append_images=[blue], duration=100)
    assert (pixels(animation)[20, 20] - np.array([255, 0, 0])).max() < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = photograph(60, 40)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = pixels(encoded(stored, "PNG", exif=exif))
    assert np.array_equal(decoded, np.asarray(upright))


def test_damaged_exif_data_does_not_cost_the_picture() -> None:
    decoded = pixels(encoded(photograph(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert decoded.shape == (60, 80, 3)


def test_transparent_parts_become_white() -> None:
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 5, 10))
    decoded = pixels(encoded(image, "PNG"))
    assert decoded[5, 2].tolist() == [0, 0, 255]
    assert decoded[5, 8].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "CMYK", "I;16"])
def test_a_picture_of_many_bands_is_that_of_one(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photograph(80, 60).convert("L" if mode == "I;16" else mode)
    data = encoded(image.convert(mode) if mode == "I;16" else image, "JPEG" if mode == "CMYK" else "PNG")
    whole = pixels(data)
    monkeypatch.setattr("service.pipeline.inputs.decode.BAND_PIXELS", 80 * 7)
    np.testing.assert_array_equal(pixels(data), whole)


def test_a_palette_with_a_transparent_colour_becomes_white_there() -> None:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (0, 0, 5, 10))
    decoded = pixels(encoded(image, "PNG", transparency=0))
    assert decoded[5, 2].tolist() == [0, 255, 0]
    assert decoded[5, 8].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    decoded = pixels(encoded(photograph().convert("L").convert(mode), "PNG"))
    assert decoded.shape == (60, 80, 3)
    assert np.array_equal(decoded[..., 0], decoded[..., 2])


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16)[None].repeat(8, axis=0)
    decoded = pixels(encoded(Image.fromarray(ramp), "PNG"))
    assert decoded[4, :, 0].tolist() == (ramp[4] >> 8).tolist()


def test_cmyk_keeps_its_colours() -> None:
    red = Image.new("RGB", (64, 64), (200, 30, 30)).convert("CMYK")
    assert np.abs(pixels(encoded(red, "JPEG", quality=95))[32, 32].astype(int) - [200, 30, 30]).max() < 12


@pytest.mark.parametrize(
    ("width", "height", "factor"),
    [(1024, 512, 2), (1000, 600, 2), (4032, 3024, 8), (2000, 1100, 4), (511, 2000, 1), (1001, 600, 1), (1002, 1100, 2)],
)
def test_a_jpeg_is_reduced_where_that_divides_it_and_leaves_four_times_the_target(
    width: int, height: int, factor: int
) -> None:
    assert reduction(width, height, TARGET) == factor
    assert decode(jpeg(width, height), ImageLimits(1 << 24, 1 << 24), TARGET).size == (
        width // factor,
        height // factor,
    )


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", jpeg()[:300], encoded(photograph(), "PNG")[:400]]
)
def test_what_is_no_whole_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImageError):
        decode(data, LIMITS, TARGET)


def test_other_formats_are_refused_with_the_ones_that_are_read() -> None:
    with pytest.raises(InvalidImageError, match="JPEG, PNG, WEBP, GIF, BMP"):
        decode(encoded(photograph(), "TIFF"), LIMITS, TARGET)


def test_too_many_pixels_are_refused_from_the_header_alone() -> None:
    started_s = time.monotonic()
    with pytest.raises(ImageTooLargeError, match="50000 x 50000 pixels"):
        decode(png_header_of(50_000, 50_000), LIMITS, TARGET)
    assert time.monotonic() - started_s < 5  # decoding 7.5 GB could not be done in that time


def test_too_many_bytes_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ImageTooLargeError, match="the limit is 100"):
        decode(jpeg(), ImageLimits(max_bytes=100, max_pixels=1_000_000), TARGET)
