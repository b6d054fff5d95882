"""Drawing, cutting and encoding pictures."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from training.data.builders.render import (
    SIDE,
    SLATE,
    RenderError,
    draw_svg,
    drawing,
    grey_png,
    photo_webp,
    square,
    trim,
)

pytestmark = pytest.mark.torch


def svg(body: str, attributes: str = 'viewBox="0 0 16 16"') -> str:
    return f'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" {attributes}>{body}</svg>'


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


DISC = '<circle cx="8" cy="8" r="8" fill="#c00"/>'


def test_a_drawing_is_its_shape_on_white() -> None:
    image = pixels(drawing(svg(DISC)))
    assert image.shape == (SIDE, SIDE, 3)
    assert image[32, 32].tolist() == [204, 0, 0]
    assert image[0, 0].tolist() == [255, 255, 255]


def test_equal_drawings_have_equal_bytes() -> None:
    assert drawing(svg(DISC)) == drawing(svg(DISC))


def test_a_document_without_a_view_box_gets_one_from_its_size() -> None:
    plain = draw_svg(svg(DISC))
    sized = draw_svg(svg(DISC, 'width="16pt" height="16pt"').replace('r="8"', 'r="8" transform="scale(1.3333333)"'))
    assert sized.size == plain.size == (SIDE, SIDE)
    difference = np.abs(np.asarray(sized, dtype=float) - np.asarray(plain, dtype=float)).mean()
    assert difference < 1


def test_the_longer_side_fills_the_picture_whatever_the_units() -> None:
    assert draw_svg(svg(DISC, 'width="210mm" height="105mm" viewBox="0 0 16 8"')).size == (SIDE, SIDE // 2)


@pytest.mark.parametrize("attributes", ["", 'width="100%" height="100%"', 'viewBox="0 0 0 0"'])
def test_a_document_without_any_size_is_refused(attributes: str) -> None:
    with pytest.raises(RenderError, match="no usable size"):
        drawing(svg(DISC, attributes))


@pytest.mark.parametrize("text", ["no drawing at all", "<svg viewBox='0 0 1 1'><g></svg>"])
def test_what_is_no_svg_is_refused(text: str) -> None:
    with pytest.raises(RenderError):
        drawing(text)


def test_an_empty_document_is_blank() -> None:
    with pytest.raises(RenderError, match="blank"):
        drawing(svg(""))


def test_a_picture_of_one_colour_is_blank() -> None:
    with pytest.raises(RenderError, match="blank"):
        square(Image.new("RGBA", (64, 64), (255, 255, 255, 255)))


def test_a_small_thing_on_a_large_page_is_enlarged_and_sharp() -> None:
    image = pixels(drawing(svg('<rect x="4" y="4" width="2" height="2" fill="#000"/>', 'viewBox="0 0 40 40"')))
    assert (image.mean(axis=2) < 10).mean() > 0.7


def test_what_white_would_swallow_stands_on_slate() -> None:
    image = pixels(drawing(svg('<circle cx="8" cy="8" r="8" fill="#fff"/>')))
    assert image[0, 0].tolist() == list(SLATE)
    assert image[32, 32].tolist() == [255, 255, 255]


def test_a_wide_picture_is_shown_whole() -> None:
    wide = Image.new("RGBA", (100, 20), (0, 0, 255, 255))
    image = np.asarray(square(wide))
    assert image.shape == (SIDE, SIDE, 3)
    assert image[32, 0].tolist() == image[32, 63].tolist() == [0, 0, 255]
    assert image[0, 32].tolist() == [255, 255, 255]


def test_colour_under_full_transparency_does_not_bleed_into_the_edge() -> None:
    pixel = np.zeros((256, 256, 4), dtype=np.uint8)
    pixel[..., 1] = 255
    pixel[64:192, 64:192] = (255, 0, 0, 255)
    image = np.asarray(square(Image.fromarray(pixel)), dtype=int)
    assert (image[..., 1] <= image[..., 2] + 2).all()


def test_trimming_keeps_a_margin() -> None:
    canvas = Image.new("RGBA", (100, 100))
    canvas.paste((0, 0, 0, 255), (40, 30, 60, 80))
    assert trim(canvas).size == (24, 54)


def test_greyscale_pixels_survive_encoding() -> None:
    grey = np.arange(28 * 28, dtype=np.uint16).reshape(28, 28).astype(np.uint8)
    with Image.open(io.BytesIO(grey_png(grey))) as image:
        assert (np.asarray(image) == grey).all()


@pytest.mark.parametrize(("size", "expected"), [((400, 200), (160, 80)), ((200, 401), (80, 160)), ((60, 70), (60, 70))])
def test_photographs_are_reduced_to_80_pixels_and_never_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    with Image.open(io.BytesIO(photo_webp(Image.new("RGB", size)))) as image:
        assert image.size == expected
