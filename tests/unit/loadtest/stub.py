"""A server that answers as a test tells it to, in the test's own loop or as a process in a gateway's place."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
ANSWER = {"results": [{}], "usage": {"images": 1, "backbone_calls": {"tiny": 1}, "gflops": 0.5}}


@dataclass(frozen=True, slots=True)
class Asked:
    target: str
    headers: dict[str, str]
    body: bytes
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = json.dumps(ANSWER).encode()


Handler = Callable[[Asked], Awaitable[Reply | None]]
"""None hangs up without an answer."""


@asynccontextmanager
async def stub_server(handler: Handler, port: int = 0) -> AsyncIterator[int]:
    """Gives the port. Connections are kept alive, so a test sees what a client does with them."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            while reply := await handler(await _read(reader)):
                _write(writer, reply)
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client hung up, or the test is over
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, HOST, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    method, target, _ = head[0].split()
    return Asked(target, headers, await reader.readexactly(int(headers.get("content-length", "0"))), method)


def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    headers = reply.headers | {"Content-Length": str(len(reply.body))}
    lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body)


async def _gateway() -> None:
    """Not listening for a moment, then ready, until SIGTERM."""
    from tests.unit.loadtest.gallery_stub import Galleries  # which needs what is defined here

    galleries = Galleries(Path(os.environ["QUORUM_GALLERIES_URL"]))
    await asyncio.sleep(0.1)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)

    async def answer(asked: Asked) -> Reply:
        await asyncio.sleep(0.002)
        if asked.target.startswith(("/v1/galleries/", "/v1/embeddings")):
            return galleries.answer(asked)
        return Reply(body=b'{"zoo": "stub"}') if asked.target == "/info" else Reply()

    async with stub_server(answer, int(os.environ["QUORUM_PORT"])):
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(_gateway())
