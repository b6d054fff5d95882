"""Which of the processes that share a state file are alive, told by locks that end with their process.

A job is the work of one process and cannot outlive it, however it dies. No clock tells that well: on a loaded machine a
living process misses its heartbeats, and a dead one is believed for as long as they are apart. The kernel knows: it
drops a process' `flock` when the process ends, `kill -9` included. The state file cannot be shared further than such
locks reach, since SQLite's WAL needs one machine too.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path


class Presence:
    """One locked file in `folder` per living process (exactly: per open state; several can live in one process)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None
        self.owner = secrets.token_hex(8)

    def claim(self) -> None:
        """Be there, and remove what the dead left behind. Raises `OSError` where nothing can be locked."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if path.suffix != ".new":
                self.is_gone(path.name)
        # Under its own name a file is never seen unlocked, which would read as the mark of a dead process.
        draft = self._folder / f"{self.owner}.new"
        self._handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(self._folder / self.owner)

    def is_gone(self, owner: str) -> bool:
        """Whether the process of that name has ended; its file is then removed."""
        if owner == self.owner:
            return False
        path = self._folder / owner
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True

    def release(self) -> None:
        if self._handle is not None:
            (self._folder / self.owner).unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None
