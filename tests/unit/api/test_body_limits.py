"""Bounds on a body while it arrives: bytes, whether announced or not, and time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.conftest import MakeApp, Serve
from tests.support.api import classify_call, error_of
from tests.support.asgi import Caller, Unread
from tests.support.images import jpeg

LIMIT = 100_000
JSON = {"content-type": "application/json"}
PART = b"--x\r\nContent-Disposition: form-data; name=images; filename=a\r\n\r\n"
CALLS = [
    ("POST", "/v1/classify", "application/json"),
    ("POST", "/v1/classify?labels=cat", "image/jpeg"),
    ("POST", "/v1/classify", "multipart/form-data; boundary=x"),
    ("PUT", "/v1/label-sets/pets", "application/json"),
    ("POST", "/zero-shot-image-classification", "application/json"),
]
EVERY_CALL = pytest.mark.parametrize(("method", "path", "content_type"), CALLS)


@pytest.fixture
async def limited(make_app: MakeApp, serve: Serve) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(make_app(max_body_bytes=LIMIT, body_timeout_s=0.15)) as client:
        yield client


@EVERY_CALL
async def test_a_body_that_announces_too_much_is_refused_unread(
    limited: httpx2.AsyncClient, method: str, path: str, content_type: str
) -> None:
    headers = {"content-type": content_type, "content-length": str(LIMIT + 1)}
    error_of(await limited.request(method, path, content=Unread(), headers=headers), 413, "payload_too_large")


@EVERY_CALL
async def test_a_body_that_announces_nothing_is_refused_when_it_has_grown_too_large(
    limited: httpx2.AsyncClient, method: str, path: str, content_type: str
) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        start = (
            b"--x\r\nContent-Disposition: form-data; name=images; filename=a\r\n\r\n" if "x" in content_type else b"["
        )
        yield start
        while True:
            taken += 10_000
            yield b"[" * 10_000

    response = await limited.request(method, path, content=endless(), headers={"content-type": content_type})
    error_of(response, 413, "payload_too_large")
    assert taken <= LIMIT + 10_000


@EVERY_CALL
async def test_a_body_that_does_not_come_is_given_up(
    limited: httpx2.AsyncClient, method: str, path: str, content_type: str
) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield PART if "boundary" in content_type else b"["
        while True:
            yield b" "
            await asyncio.sleep(0.02)

    started_s = time.monotonic()
    response = await limited.request(method, path, content=slow(), headers={"content-type": content_type})
    error_of(response, 408, "body_timeout")
    assert response.headers["connection"] == "close", "what still comes of it must not be read as a request"
    assert time.monotonic() - started_s < 5.0


@pytest.mark.parametrize("announced", ["\xb2", "9" * 5_000, "-1", "1e9", "", "0x10", "1_0"])
async def test_a_length_that_is_none_does_no_harm(limited: httpx2.AsyncClient, announced: str) -> None:
    headers = {b"content-type": b"application/json", b"content-length": announced.encode("latin-1")}
    response = await limited.post("/v1/classify", content=b"{}", headers=headers)
    assert response.status_code in (413, 422)


async def test_a_body_of_exactly_the_limit_is_read(limited: httpx2.AsyncClient) -> None:
    body = json.dumps(classify_call(jpeg())).encode().ljust(LIMIT)
    assert len(body) == LIMIT
    assert (await limited.post("/v1/classify", content=body, headers=JSON)).status_code == 200
    error_of(await limited.post("/v1/classify", content=body + b" ", headers=JSON), 413, "payload_too_large")


async def test_the_time_for_a_body_does_not_count_against_the_answer(make_app: MakeApp, serve: Serve) -> None:
    app = make_app(body_timeout_s=0.1)
    services = app.state.services
    classify = services.classifier.classify

    async def slow(*arguments: object) -> object:
        await asyncio.sleep(0.25)
        return await classify(*arguments)

    services.classifier.classify = slow
    async with serve(app) as client:
        assert (await client.post("/v1/classify", json=classify_call(jpeg()))).status_code == 200


async def test_a_caller_who_hangs_up_while_waiting_is_answered_into_the_void(make_app: MakeApp) -> None:
    app = make_app()
    async with app.router.lifespan_context(app):
        caller = Caller("POST", "/v1/classify", JSON)
        caller.feed(json.dumps(classify_call(jpeg())).encode())
        caller.hang_up()
        await caller.start(app)
    assert caller.status == 200
