"""What stands in the `input` of an embeddings call: texts, and images as data URIs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from service.api.bodies import image_from_text, too_many_images
from service.errors import InvalidRequestError, InvalidTextError, PayloadTooLargeError, QuorumError
from service.pipeline.embed import Image
from service.pipeline.embeddings import Input, blamed, param_of
from service.settings import Settings

DATA_URI: Final = re.compile(r"\s{0,64}data:(?:image/|[^,\s]{0,200};base64,)", re.IGNORECASE)
"""Base64 of any type, not of images alone: encoded bytes must never be embedded as if they were words."""


def read_inputs(given: str | Sequence[str], settings: Settings) -> tuple[Input, ...]:
    """Every input as a text or an image.

    Raises `InvalidRequestError` for none, `PayloadTooLargeError` for too many, and `InvalidTextError` or
    `InvalidImageError` for the first that is wrong, naming its index.
    """
    strings = [given] if isinstance(given, str) else given
    if not strings:
        raise InvalidRequestError("No input. Send at least one text or image.", param="input")
    _check_counts(strings, settings)
    return tuple(_read(text, index, settings) for index, text in enumerate(strings))


def is_image(text: str) -> bool:
    """Whether an input is meant as an image (and has then to be one)."""
    return DATA_URI.match(text) is not None


def _check_counts(strings: Sequence[str], settings: Settings) -> None:
    if len(strings) > settings.max_images + settings.max_texts:  # before a million of them are looked at one by one
        raise _too_many_texts(settings.max_texts)
    images = sum(map(is_image, strings))
    if images > settings.max_images:
        raise too_many_images(settings.max_images).with_param("input")
    if len(strings) - images > settings.max_texts:
        raise _too_many_texts(settings.max_texts)


def _too_many_texts(limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"More than {limit:,} texts in one request, which is the limit. Send several requests.", param="input"
    )


def _read(text: str, index: int, settings: Settings) -> Input:
    if is_image(text):
        return _image(text, index)
    try:
        return checked_text(text, settings.max_text_characters)
    except InvalidTextError as error:
        raise blamed(InvalidTextError(f"{error.message} (An image begins with data:image/.)"), index) from None


def _image(text: str, index: int) -> Image:
    head, comma, tail = text.lstrip().partition(",")
    image = image_from_text(f"{head.lower()}{comma}{tail}", param_of(index))
    if isinstance(image, QuorumError):
        raise blamed(image, index)
    return image


def checked_text(text: str, max_characters: int) -> str:
    """`text` itself. Raises `InvalidTextError` for one that is empty or too long."""
    if not text.strip():
        raise InvalidTextError("The text is empty. Every text needs at least one character.")
    if len(text) > max_characters:
        raise InvalidTextError(f"The text has {len(text):,} characters, the limit is {max_characters:,}. Shorten it.")
    return text
