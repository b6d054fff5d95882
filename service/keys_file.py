"""The keys file of a running gateway: read again when it has changed, kept as it was when what came is broken."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from service.errors import ConfigurationError
from service.keys import ApiKey, parse_keys

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
MAX_BYTES: Final = 1 << 20
"""As much as a Kubernetes secret holds, some seven thousand entries. What is larger is another file."""

Version = tuple[int, ...] | None
"""Of a file: device, inode, times of change of content and of the rest (mode, owner) in nanoseconds, size. None: there
is none to be seen."""


class KeysFile:
    """Used from the event loop alone. A look is one `stat`, at most once in `LOOK_EVERY_S`, and follows links: that is
    how Kubernetes swaps a secret."""

    def __init__(
        self, path: Path, observe: Callable[[bool], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`observe` hears at every reading whether the keys in force are those of the file.

        Raises `ConfigurationError` when the file cannot be read or is broken: a first version has to be right.
        """
        self._path = path
        self._observe = observe
        self._clock = clock
        self._looked_s = clock()
        self._version = _version_of(path)
        self._unreadable = ""
        self._keys = read_keys(path)
        self._accept(self._keys)

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys in force."""
        if self._clock() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock()
            self._look()
        return self._keys

    def _look(self) -> None:
        version = _version_of(self._path)  # before it is read: a change in between is seen next time
        if version == self._version:
            return
        self._version = version
        try:
            self._accept(read_keys(self._path))
        except ConfigurationError as error:
            self._observe(False)
            if isinstance(error.__cause__, OSError):
                # It may be read at the next look, and nothing about the file need change for that.
                self._version = None
                if error.message == self._unreadable:
                    return
                self._unreadable = error.message
            log.error("the keys file is broken, so the keys read before it stay in force: %s", error.message)

    def _accept(self, keys: tuple[ApiKey, ...]) -> None:
        self._unreadable = ""
        self._keys = keys
        self._observe(True)
        if keys:
            log.info("%d API keys are in force: %s", len(keys), ", ".join(each.name for each in keys))
        else:
            log.warning("the keys file holds no key, so nobody is let in; `quorum keys new` makes one")


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Raises `ConfigurationError`, naming the file and what is wrong in it."""
    where = f"the keys file {path}"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{where} cannot be read: {error.strerror}. `quorum keys new` makes one.") from error
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{where} is larger than {MAX_BYTES:,} bytes, so it is hardly one.")
    try:
        return parse_keys(data.decode(), where)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{where} is not text in UTF-8.") from error


def _version_of(path: Path) -> Version:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
