"""What every command of `python -m training` does with errors that its user can mend."""

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Final

import typer

KILLED: Final = (
    "a process ended without a word, as the system ends one that takes too much memory. What was finished is kept: the "
    "same command goes on, and with fewer --workers, where it has them, takes less."
)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Errors that the user can mend end the program with their message and status 1, without a traceback."""
    from service.errors import QuorumError
    from training.checkpoint import CheckpointError
    from training.config import ConfigError
    from training.data.rows import DataError
    from training.evaluate.card import CardError
    from training.export.errors import ExportError

    try:
        yield
    except (CardError, CheckpointError, ConfigError, DataError, ExportError, QuorumError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except BrokenProcessPool as error:
        typer.echo(f"error: {KILLED}", err=True)
        raise typer.Exit(1) from error


@contextmanager
def adapter_errors() -> Iterator[None]:
    """Inside `one_sentence`, whose other commands should not wait for OpenCLIP: a design that does not fit."""
    from training.adapters.errors import AdapterError
    from training.config import ConfigError

    try:
        yield
    except AdapterError as error:
        raise ConfigError(str(error)) from error
