"""What every command of `python -m training` does with errors that its user can mend."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


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


@contextmanager
def adapter_errors() -> Iterator[None]:
    """Inside `one_sentence`, whose other commands should not wait for OpenCLIP: a design that does not fit."""
    from training.adapters.errors import AdapterError
    from training.config import ConfigError

    try:
        yield
    except AdapterError as error:
        raise ConfigError(str(error)) from error
