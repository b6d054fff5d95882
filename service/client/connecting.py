"""What both clients do before they send anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx2

DEFAULT_URL: Final = "http://127.0.0.1:8000"

ImageSource = Path | bytes
EmbeddingSource = str | ImageSource
"""A text, or an image. A string that is an image's data URI is an image as well."""
Labels = Sequence[str] | Mapping[str, Sequence[str]]
Examples = Iterable[tuple[ImageSource, str]]
"""Images with their labels."""


def checked_url(text: str) -> httpx2.URL:
    """Raises `ValueError` unless `text` is an http address."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise ValueError(f'"{text}" is not a URL: {error}') from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f'"{text}" is not the address of a server; one looks like {DEFAULT_URL}')
    return url


def headers(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


def contents(images: Iterable[ImageSource]) -> list[bytes]:
    """Raises `OSError`."""
    return [image if isinstance(image, bytes) else image.read_bytes() for image in images]


def embeddable(inputs: EmbeddingSource | Iterable[EmbeddingSource]) -> list[str | bytes]:
    """One input alone, or several; a string is never taken for its letters. Raises `OSError`."""
    if isinstance(inputs, str | bytes | Path):
        inputs = [inputs]
    return [each.read_bytes() if isinstance(each, Path) else each for each in inputs]


def labelled(examples: Examples) -> list[tuple[bytes, str]]:
    """Raises `OSError`."""
    pairs = list(examples)
    return list(zip(contents(image for image, _ in pairs), (label for _, label in pairs), strict=True))
