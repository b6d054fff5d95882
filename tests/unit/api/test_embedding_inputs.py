"""Which strings are images."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from service.api.embedding_inputs import is_image, read_inputs
from service.errors import InvalidImageError
from service.pipeline.embed import Image
from service.settings import Settings
from tests.support.embeddings import data_uri
from tests.support.images import jpeg

SETTINGS = Settings()


@pytest.mark.parametrize(
    "text",
    [
        "data:image/jpeg;base64,AAAA",
        "data:image/svg+xml,<svg>",
        "data:image/",
        "data:;base64,AAAA",
        "data:application/octet-stream;base64,AAAA",
        "data:image/png;charset=utf-8;base64,AAAA",
        "Data:Image/PNG;Base64,AAAA",
        "\n data:image/png;base64,AAAA",
    ],
)
def test_data_uris_of_images_and_all_that_are_base64_are_images(text: str) -> None:
    assert is_image(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a cat",
        "data: a cat",
        "data:text/plain,a cat",
        "data: see the table;base64,AAAA",
        "the data:image/png;base64,AAAA",
        "https://example.org/cat.png",
        "/9j/4AAQSkZJRgABAQ",
        "image/png",
    ],
)
def test_everything_else_is_a_text(text: str) -> None:
    assert not is_image(text)


@given(strategies.text(min_size=1, max_size=200).filter(lambda text: text.strip() and not is_image(text)))
def test_a_text_is_kept_as_it_is(text: str) -> None:
    assert read_inputs(text, SETTINGS) == (text,)


@given(strategies.binary(min_size=1, max_size=200), strategies.sampled_from(["image/png", "", "a/b;c=d", "IMAGE/GIF"]))
def test_an_images_bytes_are_what_was_encoded(data: bytes, kind: str) -> None:
    assert read_inputs([data_uri(data, kind)], SETTINGS) == (Image.of(data),)


def test_line_breaks_in_base64_are_left_out() -> None:
    uri = data_uri(jpeg())
    broken_up = "\r\n".join(uri[start : start + 76] for start in range(0, len(uri), 76))
    assert read_inputs(broken_up, SETTINGS) == (Image.of(jpeg()),)


def test_a_long_head_without_an_end_is_no_trap() -> None:
    with pytest.raises(InvalidImageError, match="must look like data:image/jpeg;base64"):
        read_inputs("data:image/" + ";base64" * 1_000_000, SETTINGS)
    assert not is_image("data:" + ";base64" * 1_000_000)
