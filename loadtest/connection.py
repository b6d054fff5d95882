"""One HTTP/1.1 keep-alive connection that costs as little CPU as possible.

The generator shares its cores with the server it measures, so whatever it spends is missing there. On the parser and
the loop that uvicorn brings along, a 45 kB POST costs a quarter of the CPU that it costs through aiohttp on that loop.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools


class ConnectionLostError(Exception):
    """The server closed the connection before the answer was complete."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer; header names are in lower case."""

    status: int
    headers: dict[bytes, bytes] = field(repr=False)
    body: bytes = field(repr=False)


class Connection(asyncio.Protocol):
    """Sends one request at a time; `usable` turns false once the server has hung up."""

    def __init__(self) -> None:
        self.usable = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._reset()

    async def request(self, parts: Sequence[bytes], timeout_s: float) -> Response:
        """Write `parts` (head and body, already formatted) and wait for the whole answer.

        Raises `TimeoutError` after `timeout_s` (the connection is then closed) and `ConnectionLostError`.
        """
        if self._transport is None or not self.usable:
            raise ConnectionLostError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines(parts)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._answer
        except (TimeoutError, asyncio.CancelledError):
            self.close()
            raise

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    def _fail(self) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionLostError())

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods alone
        self.usable = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail()
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._fail()

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        response = Response(self._parser.get_status_code(), self._headers, b"".join(self._body))
        if not self._parser.should_keep_alive():
            self.close()
        self._reset()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(response)


class Pool:
    """Idle connections to one address, the last used first; opens another when none is idle."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.port = port
        self._tls = tls
        self._idle: list[Connection] = []

    async def request(self, parts: Sequence[bytes], timeout_s: float) -> Response:
        """Send over an idle or a new connection, each part within `timeout_s`. Raises as `Connection.request` does, and
        `OSError`."""
        connection = await self._take(timeout_s)
        response = await connection.request(parts, timeout_s)
        if connection.usable:
            self._idle.append(connection)
        return response

    async def _take(self, timeout_s: float) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):  # whoever drops packets would be tried for minutes
            _, connection = await loop.create_connection(Connection, self.host, self.port, ssl=self._tls)
        return connection

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()
