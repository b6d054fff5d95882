"""`quorum serve`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from service.cli.connection import not_started
from service.cli.output import say


def serve(
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; 0.0.0.0 for all.", metavar="ADDRESS", show_default="127.0.0.1"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535, metavar="N", show_default="8000"),
    ] = None,
    model_repository: Annotated[
        Path | None,
        typer.Option(help="Folder of the towers to serve.", metavar="FOLDER", show_default="model_repository"),
    ] = None,
    engine: Annotated[
        Literal["onnx", "triton", "fake"] | None,
        typer.Option(
            help="What executes the towers: this process, Triton (QUORUM_TRITON_URLS), or, at random, `fake`.",
            show_default="onnx",
        ),
    ] = None,
    state_url: Annotated[
        str | None,
        typer.Option(
            help="Where label sets, controllers, cascades and jobs are kept: a SQLite file, or redis://HOST:6379/0. An "
            "address with a password belongs into QUORUM_STATE_URL.",
            metavar="FILE|URL",
            show_default="var/quorum.sqlite3",
        ),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option(help="Least severe level logged.", show_default="info"),
    ] = None,
) -> None:
    """Serve the API and its playground, in one process.

    Each option overrides its variable (--port is QUORUM_PORT); the other settings are variables alone, the file of
    API keys (QUORUM_API_KEYS_FILE) among them. Logs go to standard error, one JSON object per line. On SIGTERM and
    Ctrl+C requests in flight are finished, for at most QUORUM_DRAIN_TIMEOUT_S; a second Ctrl+C does not wait. With
    OTEL_EXPORTER_OTLP_ENDPOINT requests are traced.

    Example: `quorum serve --port 8080 --model-repository model_repository`
    """
    signal.signal(signal.SIGTERM, _leave)
    from pydantic import SecretStr

    given = {
        "host": host,
        "port": port,
        "model_repository": model_repository,
        "engine": engine,
        "state_url": None if state_url is None else SecretStr(state_url),
        "log_level": log_level,
    }
    from service.cli.server import run
    from service.errors import StartupError
    from service.observability.logs import configure_logging
    from service.settings import Settings

    try:
        settings = Settings.from_environment().model_copy(
            update={name: value for name, value in given.items() if value is not None}
        )
        configure_logging(settings.log_level)
        stuck = run(settings, announce=say)
    except StartupError as error:
        not_started(error)
    if stuck:  # whoever stops this process would wait for that as well, until it is killed
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def _leave(sig: int, _: object) -> None:
    """Until the server itself listens to signals: to the first process of a container, one that nobody listens to is
    none, and whoever deletes a pod that has just begun would have to kill it."""
    raise SystemExit(128 + sig)
