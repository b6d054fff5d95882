"""Puts towers into a model repository: a backbone is there as a whole, or as it was before."""

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from training.export.errors import ExportError

# Inside the repository, so that a rename never crosses file systems; readers look at `*/config.pbtxt` and no deeper.
STAGING = ".exporting"

Folders = Mapping[str, Mapping[str, bytes]]
"""By the name of a folder: by the path of a file inside it, its content."""


def replace_folders(repository: Path, folders: Folders) -> None:
    """Write `folders` beside the old ones of the same names, then put them in their place by renames.

    Raises `ExportError` for a path that cannot be written (a full disk among others); what was there then stays. A
    process that is killed between the renames leaves a backbone that is refused when it is read; anything else that it
    leaves behind goes with the next export.
    """
    staging = repository / STAGING / min(folders)
    try:
        shutil.rmtree(staging, ignore_errors=True)
        (staging / "old").mkdir(parents=True)
        for name, files in folders.items():
            for path, content in files.items():
                _write(staging / "new" / name / path, content)
        _exchange(repository, folders, staging / "new", staging / "old")
    except OSError as error:
        raise ExportError(f"{error.filename or repository}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):  # another export has its own folder in there, or nothing could be made at all
            (repository / STAGING).rmdir()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            # A rename may reach the disk before the bytes do.
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(path)  # writing, unlike opening, does not say where
        raise


def _exchange(repository: Path, names: Iterable[str], new: Path, old: Path) -> None:
    try:
        for name in names:
            if (repository / name).exists():
                (repository / name).rename(old / name)
        for name in names:
            (new / name).rename(repository / name)
    except OSError:
        for name in names:
            if not (new / name).exists():
                shutil.rmtree(repository / name)
            if (old / name).exists():
                (old / name).rename(repository / name)
        raise
