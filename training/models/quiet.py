"""Silence for libraries that warn of what is meant to be, such as a model that starts at random."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_errors() -> Iterator[None]:
    """Let the root logger, and those that go by its level, pass nothing below an error; then leave it as it was."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
