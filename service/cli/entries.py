"""What is found in a source before it becomes an item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Protocol

import typer

from service.cli.folders import SUFFIXES, starts_like_an_image
from service.cli.output import size

HINT: Final = "SOURCE"
TEXT_SUFFIX: Final = ".txt"
BYTES_PER_CHARACTER: Final = 4
"""At most, in UTF-8."""

Kind = Literal["image", "text"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that is to become an item. `place` names it for people, `fields` came with it (None: none did), and
    `problem` says why it cannot be sent."""

    id: str
    place: str
    kind: Kind
    fields: Mapping[str, Any] | None = None
    problem: str | None = None


class UnreadableError(Exception):
    """One entry has no contents; the message says why."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What the server takes."""

    image_bytes: int
    text_characters: int

    def check(self, kind: Kind, size_bytes: int) -> None:
        """Before anything is read. Raises `UnreadableError`."""
        if kind == "image" and size_bytes > self.image_bytes:
            raise UnreadableError(
                f"it has {size(size_bytes)}; an image may have {size(self.image_bytes)} (QUORUM_MAX_IMAGE_BYTES)"
            )
        if kind == "text" and size_bytes > BYTES_PER_CHARACTER * self.text_characters:
            raise UnreadableError(
                f"it has {size(size_bytes)}; a text may have {self.text_characters:,} characters "
                "(QUORUM_MAX_TEXT_CHARACTERS)"
            )


class Source(Protocol):
    """`skipped` names what is neither an image nor, where they are wanted, a text."""

    entries: list[Entry]
    skipped: list[str]

    def contents(self, limits: ReadLimits) -> Iterator[tuple[Entry, bytes | str | UnreadableError]]:
        """Of all entries without a problem, one at a time."""


def as_text(content: bytes) -> str:
    """Raises `UnreadableError`."""
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UnreadableError("it is not a text in UTF-8") from None
    if not text:
        raise UnreadableError("there is no text in it")
    return text


def kind_of(name: str, start: bytes, texts: bool) -> Kind | None:
    """By its first bytes or its suffix: an image that is broken is to be reported, not passed over."""
    suffix = Path(name).suffix.lower()
    if starts_like_an_image(start) or suffix in SUFFIXES:
        return "image"
    return "text" if texts and suffix == TEXT_SUFFIX else None


def refuse(sentence: str) -> NoReturn:
    raise typer.BadParameter(sentence, param_hint=HINT)
