"""Images in tar archives, as WebDataset writes them: `KEY.jpg`, beside it its fields in `KEY.json`.

Nothing is ever unpacked to disk. Members are read one at a time and within limits; links, devices and sparse files are
passed over, and an archive that would unpack to far more than it is, is not gone through.
"""

from __future__ import annotations

import gzip
import json
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, Self

from service.cli.entries import Entry, ReadLimits, UnreadableError, as_text, kind_of, refuse
from service.cli.folders import START_BYTES
from service.cli.output import printable

ENDINGS: Final = (".tar", ".tar.gz", ".tgz")
GZIP_START: Final = b"\x1f\x8b"
MIB: Final = 1 << 20
MAX_JSON_BYTES: Final = MIB
MAX_HEADER_BYTES: Final = MIB
"""Of what stands before a member (a long name, pax headers): tarfile reads it whole, whatever length it claims."""
MAX_RATIO: Final = 100
"""Unpacked to packed. Archives of images hardly shrink, those of zeros by 1000."""
ALWAYS_UNPACKED: Final = 64 * MIB

BEFORE_A_MEMBER: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
DAMAGED: Final = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


class BombError(tarfile.TarError):
    pass


class GuardedInfo(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in BEFORE_A_MEMBER and info.size > MAX_HEADER_BYTES:
            raise BombError(f"a header in it claims {info.size:,} bytes")
        return info


class GuardedGzip(gzip.GzipFile):
    """Stops where the archive has unpacked to far more than it is."""

    def __init__(self, file: IO[bytes], packed_bytes: int) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._left = ALWAYS_UNPACKED + MAX_RATIO * packed_bytes

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BombError(f"it unpacks to more than {MAX_RATIO} times its size")
        return data


@dataclass(slots=True)
class ArchiveSource:
    path: Path
    texts: bool
    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    _offsets: list[int] = field(default_factory=list)
    """Of the entries' members."""

    def scan(self) -> None:
        fields: dict[str, Any] = {}
        try:
            with _opened(self.path) as archive:
                for member in _members(archive):
                    self._look_at(archive, member, fields)
        except DAMAGED as error:
            refuse(f"{printable(self.path)} cannot be read as a tar archive: {str(error) or 'its end is missing'}")
        self.entries[:] = [_with_fields(entry, fields.get(_key(entry.id))) for entry in self.entries]

    def contents(self, limits: ReadLimits) -> Iterator[tuple[Entry, bytes | str | UnreadableError]]:
        waiting = {
            offset: entry for offset, entry in zip(self._offsets, self.entries, strict=True) if entry.problem is None
        }
        try:
            with _opened(self.path) as archive:
                for member in _members(archive):
                    entry = waiting.pop(member.offset, None)
                    if entry is not None:
                        yield entry, _content(archive, member, entry, limits)
        except (*DAMAGED, OSError):
            pass  # it was whole a moment ago: what is left is told of below
        for entry in waiting.values():
            yield entry, UnreadableError("the archive was changed meanwhile")

    def _look_at(self, archive: tarfile.TarFile, member: tarfile.TarInfo, fields: dict[str, Any]) -> None:
        name = posixpath.normpath(member.name)
        place = f"{self.path}: {name}"
        if member.isdir() or posixpath.basename(name).startswith("."):
            return
        if not member.isreg() or member.issparse():
            self.skipped.append(place)
            return
        if name.lower().endswith(".json"):
            fields[_key(name)] = _fields(archive, member, place)
            return
        kind = kind_of(name, _read(archive, member, START_BYTES), self.texts)
        if kind is not None:
            self.entries.append(Entry(name, place, kind))
            self._offsets.append(member.offset)
        elif not name.lower().endswith(".txt"):
            self.skipped.append(place)


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ENDINGS)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Compressed or not, whatever its name says. What is compressed is gone through once and never back ("r|")."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP_START)) == GZIP_START
        file.seek(0)
        if packed:
            unpacked = GuardedGzip(file, path.stat().st_size)
            with tarfile.open(fileobj=unpacked, mode="r|", tarinfo=GuardedInfo) as archive:
                yield archive
        else:
            with tarfile.open(fileobj=file, mode="r:", tarinfo=GuardedInfo) as archive:
                yield archive


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member
        archive.members.clear()  # type: ignore[attr-defined]  # not in its stubs; it would remember every member


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read(most)


def _content(
    archive: tarfile.TarFile, member: tarfile.TarInfo, entry: Entry, limits: ReadLimits
) -> bytes | str | UnreadableError:
    try:
        limits.check(entry.kind, member.size)
        content = _read(archive, member, member.size)
        return content if entry.kind == "image" else as_text(content)
    except UnreadableError as error:
        return error


def _key(name: str) -> str:
    """Up to the first dot after the last slash, as WebDataset has it: `a/1.left.jpg` and `a/1.json` are of one."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _fields(archive: tarfile.TarFile, member: tarfile.TarInfo, place: str) -> dict[str, Any] | str:
    """What a `KEY.json` says, or why it says nothing."""
    shown = printable(place)
    if member.size > MAX_JSON_BYTES:
        return f"its fields, {shown}, have {member.size:,} bytes; {MAX_JSON_BYTES:,} are read"
    try:
        found = json.loads(_read(archive, member, member.size))
    except (ValueError, RecursionError):
        return f"its fields, {shown}, are not JSON"
    return found if isinstance(found, dict) else f"its fields, {shown}, are no JSON object"


def _with_fields(entry: Entry, found: dict[str, Any] | str | None) -> Entry:
    return replace(entry, problem=found) if isinstance(found, str) else replace(entry, fields=found)
