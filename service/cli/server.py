"""The server process: from a bound port to a drained exit."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.cli.protocol import BoundedHttp
from service.deadline import Deadline
from service.errors import ConfigurationError
from service.liveness import WatchedThreads
from service.settings import Settings, TracingSettings

BACKLOG: Final = 1024
"""Connections that wait to be accepted. Who finds no permit gets a 429 at once: this holds a burst, not a queue."""

KEEP_ALIVE_S: Final = 75
"""Longer than clients and load balancers keep an idle connection, so that it is they who close it and no request
meets a connection that is just going away."""

WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class DrainingServer(uvicorn.Server):
    """`begin_drain` is called at every signal, `listening` once connections are accepted.

    After a first SIGTERM connections are still accepted for `delay_s`: whoever sends them here learns of it a little
    later, and a caller whose connection is closed between two requests has one that fails.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        begin_drain: Callable[[], None],
        listening: Callable[[], None],
        delay_s: float = 0.0,
    ) -> None:
        super().__init__(config)
        self._begin_drain = begin_drain
        self._listening = listening
        self._delay_s = delay_s
        self._leaves: Deadline | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError as error:  # another process bound the same port while we loaded, and listens on it by now
            raise _cannot_listen(self.config.host, self.config.port, error) from error
        self._listening()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing to do: `run` listens to signals from before the models load until the last job has ended.

        uvicorn would raise every signal once more when it is done, which would pass for a second Ctrl+C.
        """
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and self.started and self._delay_s and self._leaves is None:
            self._leaves = Deadline.after(self._delay_s)
        else:
            super().handle_exit(sig, frame)  # first: it tells a second Ctrl+C
        self._begin_drain()

    async def on_tick(self, counter: int) -> bool:
        if self._leaves is not None and self._leaves.passed:
            self.should_exit = True
        return await super().on_tick(counter)


def run(settings: Settings, announce: Callable[[str], None]) -> bool:
    """Serve until a signal comes; returns once requests in flight are answered. Raises `StartupError`.

    True: a thread is stuck for which the interpreter would wait at its end.
    """
    with _bind(settings.host, settings.port) as listener:
        app = create_app(settings, tracing=TracingSettings.from_environment())
        server = DrainingServer(
            _config(app, settings),
            delay_s=settings.drain_delay_s,
            begin_drain=lambda: begin_drain(app, hurry=server.force_exit),
            listening=lambda: announce(_greeting(app, listener)),
        )
        # From before the models load until the last job has ended.
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, server.handle_exit)
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_serve(app, server, listener))
    return any(isinstance(each, WatchedThreads) and each.left_behind for each in app.state.services.watched)


async def _serve(app: FastAPI, server: DrainingServer, listener: socket.socket) -> None:
    # The lifespan is entered here and not by uvicorn, which would log a traceback where one sentence is wanted.
    async with app.router.lifespan_context(app):
        if not server.should_exit:
            await server.serve(sockets=[listener])


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="off",
        http=BoundedHttp,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=ceil(settings.drain_timeout_s),
    )


def begin_drain(app: FastAPI, *, hurry: bool = False) -> None:
    """Turn readiness red, have callers go elsewhere with their next request and refuse jobs; what is in flight goes on,
    a running job unless in a `hurry`."""
    app.state.services.admission.draining = True
    app.state.services.runner.drain(hurry=hurry)


def _bind(host: str, port: int) -> socket.socket:
    """A socket that owns the address but does not listen: until the models are loaded, callers are refused at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{host} port {port}: {error.strerror}. Choose another with --host and --port (QUORUM_HOST, QUORUM_PORT)."
    )


def _greeting(app: FastAPI, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    reachable = WILDCARDS.get(host, host)
    url = f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
    names = ", ".join(app.state.services.zoo.names)
    everywhere = " (and on every other address of this machine)" if host in WILDCARDS else ""
    return f"Quorum listens on {url}{everywhere} with {names}. API: {url}/docs. Ctrl+C stops it."
