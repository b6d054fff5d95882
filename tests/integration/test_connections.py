"""Callers on real sockets who hang up, dawdle, or send more than they may: the connection and the server stay sound."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from service.cli.protocol import MAX_AROUND_BYTES, BoundedHttp
from service.engines.fake import FakeEngine
from tests.conftest import MakeApp
from tests.support.api import classify_call
from tests.support.images import jpeg
from tests.support.keys import keys_file

BODY = json.dumps(classify_call(jpeg())).encode()
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[int]:
    """The port of a server in this loop."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http=BoundedHttp, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


def head(length: int | None, path: str = "/v1/classify", method: str = "POST") -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{framing}\r\n\r\n".encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer on the connection."""
    lines = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20.0)).decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    return int(lines[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def test_a_connection_is_used_again_after_a_body_that_was_refused_unread(make_app: MakeApp) -> None:
    async with listening(make_app(max_body_bytes=100_000)) as port, connected(port) as (reader, writer):
        for _ in range(3):
            writer.write(head(200_000) + b"x" * 200_000)
            await writer.drain()
            assert (await answer(reader))[0] == 413
            writer.write(head(len(BODY)) + BODY)
            assert (await answer(reader))[0] == 200


async def test_a_body_in_chunks_is_refused_as_soon_as_it_is_too_large(make_app: MakeApp) -> None:
    async with listening(make_app(max_body_bytes=100_000)) as port, connected(port) as (reader, writer):
        writer.write(head(None))
        for _ in range(12):
            writer.write(b"2710\r\n" + b"[" * 10_000 + b"\r\n")
        await writer.drain()
        status, _, body = await answer(reader)
        assert (status, json.loads(body)["error"]["code"]) == (413, "payload_too_large")


async def test_a_dawdler_is_answered_and_the_connection_closed(make_app: MakeApp) -> None:
    async with listening(make_app(body_timeout_s=0.2)) as port, connected(port) as (reader, writer):
        writer.write(head(len(BODY)) + BODY[:10])
        status, headers, body = await answer(reader)
        assert (status, json.loads(body)["error"]["code"]) == (408, "body_timeout")
        assert headers["connection"] == "close"
        assert await asyncio.wait_for(reader.read(), 5.0) == b""


async def test_a_caller_without_a_key_does_not_get_to_send_a_body(make_app: MakeApp, tmp_path: Path) -> None:
    locked = make_app(api_keys_file=keys_file(tmp_path, "key"))
    async with listening(locked) as port, connected(port) as (reader, writer):
        writer.write(head(10_000_000, "/v1/label-sets/pets", "PUT") + b"[")
        status, _, body = await answer(reader)
        assert (status, json.loads(body)["error"]["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("sent", [0, 10, len(BODY)])
async def test_callers_who_hang_up_leave_nothing_behind(
    make_app: MakeApp, fake_engine: FakeEngine, caplog: pytest.LogCaptureFixture, sent: int
) -> None:
    fake_engine.faults.delay_s = {"small_image": 0.2}
    app = make_app(engine=fake_engine, max_inflight_requests=3)
    async with listening(app) as port:
        for _ in range(3):
            async with connected(port) as (_, writer):
                writer.write(head(len(BODY)) + BODY[:sent])
                await writer.drain()
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        fake_engine.faults.delay_s = {}
        answers = []
        async with connected(port) as (reader, writer):
            for _ in range(4):
                writer.write(head(len(BODY)) + BODY)
                answers.append((await answer(reader))[0])
    assert answers == [200] * 4
    assert not [record for record in caplog.records if record.exc_info], "hanging up is not an error of ours"


async def test_two_requests_sent_at_once_are_answered_in_turn(make_app: MakeApp) -> None:
    async with listening(make_app()) as port, connected(port) as (reader, writer):
        writer.write(head(len(BODY)) + BODY + head(2) + b"{}")
        assert [(await answer(reader))[0] for _ in range(2)] == [200, 422]


LINE = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"
CHUNKED = LINE.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begun", "part"),
    [
        (LINE + b"Authorization: Bearer ", b"x" * 10_000),
        (LINE, b"X-Some: header\r\n" * 1_000),
        (b"GET /v1/models?labels=", b"x" * 10_000),
        (CHUNKED + b"2\r\n{}\r\n0\r\nX-Trailer: ", b"x" * 10_000),
        (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-Trailer: x\r\n" * 1_000),
    ],
)
async def test_headers_without_an_end_are_cut_off(make_app: MakeApp, begun: bytes, part: bytes) -> None:
    sent = 0
    async with listening(make_app()) as port, connected(port) as (_, writer):
        writer.write(begun)
        with contextlib.suppress(ConnectionError):
            while sent < 32 * MAX_AROUND_BYTES:
                writer.write(part)
                await writer.drain()
                sent += len(part)
    assert sent < 32 * MAX_AROUND_BYTES, "the connection went away before"


async def test_headers_that_are_large_are_read(make_app: MakeApp) -> None:
    async with listening(make_app()) as port, connected(port) as (reader, writer):
        for _ in range(3):
            writer.write(LINE + b"X-Long: " + b"x" * (MAX_AROUND_BYTES // 2) + b"\r\n\r\n")
            assert (await answer(reader))[0] == 200


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\0\x01\0",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ],
)
async def test_what_is_no_http_does_not_disturb_the_others(make_app: MakeApp, rubbish: bytes) -> None:
    async with listening(make_app()) as port:
        async with connected(port) as (reader, writer):
            writer.write(rubbish)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 5.0)
        async with connected(port) as (reader, writer):
            writer.write(head(len(BODY)) + BODY)
            assert (await answer(reader))[0] == 200
