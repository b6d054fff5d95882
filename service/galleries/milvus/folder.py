"""The folder of Milvus Lite, before it is opened: who has it, what galleries are in it, what a killed process left.

Milvus Lite 3.2 keeps every acknowledged write in a log (WAL) before it answers. Killed in the middle of something, it
leaves behind what its own recovery does not see to; `repair` does:

- A log whose rows are in a data file already (killed between the two last steps of a flush). Replayed, its rows would
  be found twice, and what was deleted or replaced since could come back.
- A collection without a schema (killed while it was created): its name could never be created again.
- A collection that was being dropped. Drops begin with a rename, which is one step, so that no half is ever seen.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.galleries.base import GallerySpec
from service.galleries.milvus.definitions import PREFIX, gallery_of, spec_of

log = logging.getLogger(__name__)

DROPPED: Final = "dropped_" + PREFIX
"""What collections that are being dropped are called."""

_LOG_NAME: Final = re.compile(r"wal_(?:data|delta)_(\d+)\.arrow")


class FolderInUseError(Exception):
    """Another process has the folder."""


class LiteFolder:
    """`path` ends in `.db` and need not exist. Nothing here imports Milvus Lite; everything blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def _collections(self) -> Path:
        return self.path / "collections"

    def claim(self) -> None:
        """Make sure that it can be opened. Raises `OSError` or `FolderInUseError`."""
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            probe = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            probe.mkdir()
            probe.rmdir()
            return
        if not self.path.is_dir():
            raise OSError(errno.ENOTDIR, "it is a file, and none of Milvus Lite 3", str(self.path))
        with self._locked():
            pass

    def specs(self) -> dict[str, GallerySpec]:
        """The galleries that are kept here, by name."""
        found: dict[str, GallerySpec] = {}
        for path in self._folders():
            gallery = gallery_of(path.name)
            schema = path / "schema.json"
            if gallery is None or not schema.exists():
                continue
            spec = spec_of(path.name, json.loads(schema.read_text(encoding="utf-8")).get("properties", {}))
            if spec is not None and spec.name == gallery:
                found[gallery] = spec
        return found

    def repair(self) -> None:
        """Finish what a killed process was in the middle of. Raises `FolderInUseError`."""
        if not self._collections.exists():
            return
        with self._locked():
            for path in self._folders():
                if path.name.startswith(DROPPED) or (gallery_of(path.name) and not (path / "schema.json").exists()):
                    log.info("removing %s, which was being dropped or created when its process ended", path.name)
                    shutil.rmtree(path)
                elif gallery_of(path.name):
                    _finish_flush(path)

    def unflushed_bytes(self, collection: str) -> int:
        """Of the logs that will be replayed when the collection is opened."""
        return sum(path.stat().st_size for path, _ in _logs(self._collections / collection))

    def _folders(self) -> list[Path]:
        return sorted(self._collections.iterdir()) if self._collections.exists() else []

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Milvus Lite's own lock, which its process holds as long as it lives."""
        with (self.path / "LOCK").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FolderInUseError from error
            yield


def _finish_flush(collection: Path) -> None:
    """Remove the logs that the manifest is past: their rows are in data files that it names."""
    manifest = collection / "manifest.json"
    if not manifest.exists():
        return
    active = json.loads(manifest.read_text(encoding="utf-8")).get("active_wal_number")
    for path, number in _logs(collection):
        if active is not None and number < active:
            log.info("removing %s of %s, which was flushed", path.name, collection.name)
            path.unlink()


def _logs(collection: Path) -> Iterator[tuple[Path, int]]:
    folder = collection / "wal"
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        match = _LOG_NAME.fullmatch(path.name)
        if match:
            yield path, int(match[1])
