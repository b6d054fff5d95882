"""Changes to a keys file: whole or not at all, one at a time, and with the operator's comments left in it."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.errors import ConfigurationError
from service.keys import HEADING, ApiKey, entry_text, parse_keys
from service.keys_file import read_keys

NEW_MODE: Final = 0o600
BEGIN: Final = re.compile(rf"^(?:[ \t]*#[^\n]*\n){{0,50}}{HEADING.pattern}", re.MULTILINE)
"""Where an entry begins, the comment right above it included."""


def add_key(path: Path, key: ApiKey) -> None:
    """Append an entry; the file is made where there is none. Raises `ConfigurationError`, also for a used name."""

    def appended(text: str, keys: tuple[ApiKey, ...]) -> str:
        if key.name in {each.name for each in keys}:
            raise ConfigurationError(f'{path} has a key "{key.name}" already. Choose another name, or remove that one.')
        gap = "\n" if text.strip() else ""
        return f"{text.rstrip()}\n{gap}{entry_text(key)}".lstrip("\n")

    _edit(path, appended, make=True)


def remove_key(path: Path, name: str) -> int:
    """How many keys are left. Raises `ConfigurationError`, also when there is no such key."""
    left = 0

    def shortened(text: str, keys: tuple[ApiKey, ...]) -> str:
        nonlocal left
        rest = tuple(key for key in keys if key.name != name)
        if len(rest) == len(keys):
            raise ConfigurationError(f'{path} has no key "{name}". `quorum keys list` shows what there is.')
        left = len(rest)
        starts = [found.start() for found in BEGIN.finditer(text)] + [len(text)]
        index = [key.name for key in keys].index(name)
        if len(starts) == len(keys) + 1:
            cut = text[: starts[index]] + text[starts[index + 1] :]
            if _holds(cut, rest):
                return cut
        # Entries that are written otherwise than one below the other.
        return "\n".join(map(entry_text, rest))

    _edit(path, shortened, make=False)
    return left


def _holds(text: str, keys: tuple[ApiKey, ...]) -> bool:
    try:
        return parse_keys(text, "") == keys
    except ConfigurationError:
        return False


def _edit(path: Path, change: Callable[[str, tuple[ApiKey, ...]], str], *, make: bool) -> None:
    """`make`: where there is no file, begin with an empty one."""
    path = path.resolve()  # what a link leads to is replaced, not the link
    try:
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            known = path.exists() or not make
            keys = read_keys(path) if known else ()
            text = path.read_text(encoding="utf-8") if known else ""
            _replace(path, change(text, keys), known)
    except OSError as error:
        raise ConfigurationError(f"the keys file {path} cannot be changed: {error.strerror}.") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two edits at once would lose one of them. The file itself is replaced, so it cannot be what is locked."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str, known: bool) -> None:
    """Readers see the old file or the new one. Owner and mode stay: a server under another user must go on reading."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            before = path.stat() if known else None
            if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), NEW_MODE if before is None else before.st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
