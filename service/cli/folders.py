"""Images in folders: which files are images, whose class they belong to, and which of them are taken.

Nothing here asks a server, and nothing but `read` holds more than one image.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NoReturn

import typer

from service.cli.output import SHOWN, listed, printable

HINT: Final = "FOLDER"
START_BYTES: Final = 12
STARTS: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM")
"""Of JPEG, PNG, GIF and BMP files; WebP has its name after a length."""
SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


@dataclass(frozen=True, slots=True)
class Picture:
    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Found:
    """`classes` by the names of their folders, in order; `loose` images belong to none. `skipped`: what is no image."""

    folder: Path
    classes: Mapping[str, Sequence[Picture]]
    loose: Sequence[Picture]
    skipped: Sequence[Path]


def look(folder: Path) -> Found:
    """What is in a folder and, one level down, in its sub-folders; names that start with a dot are passed over."""
    loose, others = _pictures(folder)
    classes: dict[str, Sequence[Picture]] = {}
    skipped = [path for path in others if not path.is_dir()]
    for path in others:
        if path.is_dir():
            classes[path.name], no_images = _pictures(path)
            skipped += no_images
    return Found(folder, classes, loose, skipped)


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in order of name; names that start with a dot are passed over, and links to folders
    are not followed: they may lead in circles. Raises `OSError` for a folder that cannot be read."""

    def unreadable(error: OSError) -> NoReturn:
        raise error

    for here, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(here, name)


def check_not_empty(found: Found) -> None:
    empty = [name for name, pictures in found.classes.items() if not pictures]
    if empty:
        refuse(
            f"no images in {listed(empty)}. Every sub-folder is a class: put images into it or remove it "
            "(JPEG, PNG, WebP, GIF and BMP are read)"
        )


def match(names: Iterable[str], labels: Sequence[str], label_set: str) -> dict[str, str]:
    """The label of each folder name. Names are compared as they are read: file systems write accents in two ways."""
    known = {unicodedata.normalize("NFC", label): label for label in labels}
    matched, unknown = {}, []
    for name in names:
        label = known.get(unicodedata.normalize("NFC", name))
        if label is None:
            unknown.append(name)
        else:
            matched[name] = label
    if unknown:
        hints = [_with_guess(name, labels) for name in unknown[:SHOWN]]
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        refuse(
            f'not a class of "{label_set}": {", ".join(hints)}{more}. Sub-folders are named exactly like its '
            f"{len(labels)} labels (`quorum labels show {label_set}`)"
        )
    return matched


def sample(pictures: Sequence[Picture], count: int, seed: int) -> list[Picture]:
    """`count` different images, all where there are fewer, chosen by their contents and the seed: names and order do
    not matter."""
    by_digest: dict[str, Picture] = {}
    for picture in pictures:
        by_digest.setdefault(_digest(picture.path), picture)
    order = sorted(by_digest, key=lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).digest())
    chosen = {by_digest[digest].path for digest in order[:count]}
    return [picture for picture in pictures if picture.path in chosen]


def read(pictures: Sequence[tuple[Picture, str | None]]) -> list[bytes]:
    """The contents, in order. Images with labels must not contradict each other."""
    contents: list[bytes] = []
    first: dict[bytes, tuple[Picture, str | None]] = {}
    for picture, label in pictures:
        try:
            contents.append(picture.path.read_bytes())
        except OSError as error:
            _unreadable(picture.path, error)
        earlier, its_label = first.setdefault(hashlib.sha256(contents[-1]).digest(), (picture, label))
        if its_label != label:
            one, other = printable(earlier.path), printable(picture.path)
            refuse(f"{one} and {other} are the same image in different classes; remove one of them")
    return contents


def refuse(sentence: str) -> NoReturn:
    raise typer.BadParameter(sentence, param_hint=HINT)


def _pictures(folder: Path) -> tuple[list[Picture], list[Path]]:
    """The images in a folder, and everything else in it, in order of name."""
    images: list[Picture] = []
    others: list[Path] = []
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        _unreadable(folder, error)
    for path in paths:
        try:
            if path.is_file() and _is_image(path):
                images.append(Picture(path, path.stat().st_size))
            else:
                others.append(path)
        except OSError as error:
            _unreadable(path, error)
    return images, others


def _is_image(path: Path) -> bool:
    with path.open("rb") as file:
        return starts_like_an_image(file.read(START_BYTES))


def starts_like_an_image(start: bytes) -> bool:
    """By the first `START_BYTES` bytes of a file: extensions lie."""
    return start.startswith(STARTS) or (start.startswith(b"RIFF") and start.endswith(b"WEBP"))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        _unreadable(path, error)


def _with_guess(name: str, labels: Sequence[str]) -> str:
    close = get_close_matches(name.lower().replace("_", " "), [label.lower() for label in labels], n=1, cutoff=0.8)
    guess = next((label for label in labels if close and label.lower() == close[0]), None)
    shown = printable(name)
    return f'"{shown}"' if guess is None else f'"{shown}" (did you mean "{guess}"?)'


def _unreadable(path: Path, error: OSError) -> NoReturn:
    refuse(f"{printable(path)}: {error.strerror}")
