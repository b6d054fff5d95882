"""What a gallery is made from: images and texts in folders, tar archives and JSON lines.

Every source is gone through twice: first for names alone, so that what contradicts itself is found before anything is
sent, then for contents, one after the other.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from service.cli.archives import ArchiveSource, is_archive
from service.cli.entries import Entry, Kind, ReadLimits, Source, UnreadableError, as_text, kind_of, refuse
from service.cli.folders import START_BYTES, walk
from service.cli.output import count, printable
from service.cli.text_lines import LinesSource

MAX_ID_BYTES: Final = 512


@dataclass(slots=True)
class FolderSource:
    folder: Path
    texts: bool
    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def scan(self) -> None:
        for path in walk(self.folder):
            name, place = path.relative_to(self.folder).as_posix(), str(path)
            try:
                kind = _kind_of_file(path, self.texts)
            except OSError as error:
                self.entries.append(Entry(name, place, "image", problem=error.strerror))
                continue
            if kind is None:
                self.skipped.append(place)
            else:
                self.entries.append(Entry(name, place, kind))

    def contents(self, limits: ReadLimits) -> Iterator[tuple[Entry, bytes | str | UnreadableError]]:
        for entry in self.entries:
            if entry.problem is None:
                yield entry, self._content(entry, limits)

    def _content(self, entry: Entry, limits: ReadLimits) -> bytes | str | UnreadableError:
        try:
            with Path(entry.place).open("rb") as file:
                limits.check(entry.kind, os.fstat(file.fileno()).st_size)
                content = file.read()
            return content if entry.kind == "image" else as_text(content)
        except OSError as error:
            return UnreadableError(error.strerror)
        except UnreadableError as error:
            return error


def scan(paths: Sequence[Path], *, texts: bool, prefix_ids: bool) -> list[Source]:
    """What is in them. Raises `typer.BadParameter` for one that cannot be read, and for an id that is there twice."""
    sources = [_scanned(path, texts) for path in paths]
    for path, source in zip(paths, sources, strict=True):
        prefix = f"{_stem(path)}/" if prefix_ids else ""
        source.entries[:] = [_checked(replace(entry, id=prefix + entry.id)) for entry in source.entries]
    _check_distinct(sources)
    if not any(source.entries for source in sources):
        skipped = sum(len(source.skipped) for source in sources)
        left_out = f"; {count(skipped, 'file is', 'files are')} something else" if skipped else ""
        refuse(f"there are no images in it{left_out} (JPEG, PNG, WebP, GIF and BMP are read)")
    return sources


def _scanned(path: Path, texts: bool) -> Source:
    source: FolderSource | ArchiveSource | LinesSource
    if path.is_dir():
        source = FolderSource(path, texts)
    elif is_archive(path):
        source = ArchiveSource(path, texts)
    elif path.suffix.lower() == ".jsonl":
        source = LinesSource(path)
    else:
        wrong = "is none" if path.exists() else "is not there"
        refuse(
            f"{printable(path)} {wrong}; a source is a folder, a .tar, .tar.gz or .tgz of images, or a .jsonl of texts"
        )
    try:
        source.scan()
    except OSError as error:
        refuse(f"{printable(error.filename or path)}: {error.strerror}")
    return source


def _kind_of_file(path: Path, texts: bool) -> Kind | None:
    if not path.is_file():  # what cannot be opened without waiting, and links to nothing
        return None
    with path.open("rb") as file:
        return kind_of(path.name, file.read(START_BYTES), texts)


def _checked(entry: Entry) -> Entry:
    """Names are kept as they are read: file systems write accents in two ways."""
    entry = replace(entry, id=unicodedata.normalize("NFC", entry.id))
    try:
        length = len(entry.id.encode())
    except UnicodeEncodeError:
        return replace(entry, id=printable(entry.id), problem="its name is no text in UTF-8; rename it")
    if "\0" in entry.id:
        return replace(entry, problem="its id has a NUL in it")
    if length > MAX_ID_BYTES:
        return replace(entry, problem=f"its id has {length} bytes; one may have {MAX_ID_BYTES}")
    return entry


def _check_distinct(sources: Sequence[Source]) -> None:
    places: dict[str, str] = {}
    for source in sources:
        for entry in source.entries:
            if entry.id in places:
                one, other = printable(places[entry.id]), printable(entry.place)
                refuse(
                    f'{one} and {other} would both be the item "{entry.id}". Index them into galleries of their own, '
                    "or put the sources' names before the ids with --prefix-ids"
                )
            places[entry.id] = entry.place


def _stem(path: Path) -> str:
    """`shard-0` of `data/shard-0.tar.gz`; of a folder its name, also where it is written as `.`"""
    name = path.resolve().name
    for suffix in (".tar.gz", ".tar", ".tgz", ".jsonl"):
        if path.is_file() and name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
