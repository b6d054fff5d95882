"""One process at a time where two would spoil each other's files."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.experts.errors import ExpertError


@contextmanager
def alone(lock: Path, otherwise: str) -> Iterator[None]:
    """Hold a folder, or a file that is made and left there, empty; the kernel gives it back however the process ends.

    Raises `ExpertError` with the sentence `otherwise` while another process holds it.
    """
    handle = os.open(lock, os.O_RDONLY if lock.is_dir() else os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExpertError(otherwise) from error
        yield
    finally:
        os.close(handle)
