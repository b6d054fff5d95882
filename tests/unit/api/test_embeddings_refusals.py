"""What `POST /v1/embeddings` refuses, and in which words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp, Serve
from tests.support.api import error_of
from tests.support.asgi import Unread
from tests.support.embeddings import URL, data_uri, embed
from tests.support.images import jpeg, png_header_of
from tests.support.keys import keys_file

IMAGE = data_uri(jpeg())
BROKEN = data_uri(jpeg()[:500])


def call(given: Any = "a cat", **fields: Any) -> dict[str, Any]:
    return {"model": "committee", "input": given, **fields}


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ("", "invalid_text", "input[0]"),
        (["a cat", " \n"], "invalid_text", "input[1]"),
        (["a cat", "x" * 2_001], "invalid_text", "input[1]"),
        (BROKEN, "invalid_image", "input[0]"),
        (["a cat", IMAGE, BROKEN, BROKEN], "invalid_image", "input[2]"),
        (["a cat", "data:image/png;base64,"], "invalid_image", "input[1]"),
        (["a cat", "data:image/png;base64,!"], "invalid_image", "input[1]"),
        (["a cat", "data:image/png;base64"], "invalid_image", "input[1]"),
        (["a cat", "data:image/svg+xml,%3Csvg%3E"], "invalid_image", "input[1]"),
        (["a cat", "data:text/plain;base64,YSBjYXQ="], "invalid_image", "input[1]"),
        (["a cat", "  DATA:image/png;BASE64,AAAA"], "invalid_image", "input[1]"),
        ([BROKEN, ""], "invalid_text", "input[1]"),
    ],
)
async def test_one_bad_input_is_the_whole_calls_error_and_is_named(
    client: httpx2.AsyncClient, given: object, code: str, param: str
) -> None:
    error = error_of(await client.post(URL, json=call(given)), 400, code)
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (call([]), 422, "invalid_request", "input"),
        (call([1, 2, 3]), 422, "invalid_request", "input"),
        (call([[1, 2], [3]]), 422, "invalid_request", "input"),
        (call(["a cat", 1]), 422, "invalid_request", "input[1]"),
        (call(["a cat", ["a dog"]]), 422, "invalid_request", "input[1]"),
        (call([{"image": "AAAA"}]), 422, "invalid_request", "input[0]"),
        (call([True]), 422, "invalid_request", "input[0]"),
        (call(None), 422, "invalid_request", "input"),
        (call({"text": "a cat"}), 422, "invalid_request", "input"),
        ({"model": "committee"}, 422, "invalid_request", "input"),
        ({"input": "a cat"}, 422, "invalid_request", "model"),
        (call(model="huge"), 404, "not_found", "model"),
        (call(model=""), 404, "not_found", "model"),
        (call(model="small_text"), 404, "not_found", "model"),
        (call(dimensions=8), 422, "invalid_request", "dimensions"),
        (call(model="small", dimensions=20), 422, "invalid_request", "dimensions"),
        (call(dimensions=0), 422, "invalid_request", "dimensions"),
        (call(dimensions="all"), 422, "invalid_request", "dimensions"),
        (call(encoding_format="int8"), 422, "invalid_request", "encoding_format"),
        (call(user=5), 422, "invalid_request", "user"),
        (call(deadline_ms=0), 422, "invalid_request", "deadline_ms"),
        (call(deadline_ms=60_001), 422, "invalid_request", "deadline_ms"),
        (call(task="retrieval"), 422, "invalid_request", "task"),
        ([], 422, "invalid_request", None),
    ],
)
async def test_a_call_that_is_none_names_the_field(
    client: httpx2.AsyncClient, body: object, status: int, code: str, param: str | None
) -> None:
    assert error_of(await client.post(URL, json=body), status, code)["param"] == param


async def test_refusals_say_what_to_do(client: httpx2.AsyncClient) -> None:
    tokens = error_of(await client.post(URL, json=call([[1]])), 422, "invalid_request")
    assert "send the texts" in tokens["message"]
    unknown = error_of(await client.post(URL, json=call(model="text-embedding-3-small")), 404, "not_found")
    assert "small, large, committee" in unknown["message"]
    shortened = error_of(await client.post(URL, json=call(model="small", dimensions=4)), 422, "invalid_request")
    assert "8 dimensions" in shortened["message"]


async def test_limits_are_those_of_other_calls(make_app: MakeApp, serve: Serve) -> None:
    app = make_app(max_images=2, max_texts=3, max_image_bytes=5_000, max_image_pixels=10_000, max_text_characters=10)
    async with serve(app) as client:
        await embed(client, ["a", IMAGE, "b", IMAGE, "c" * 10])
        for given in ([IMAGE] * 3, ["a"] * 4, [""] * 6):
            assert error_of(await client.post(URL, json=call(given)), 413, "payload_too_large")["param"] == "input"
        assert error_of(await client.post(URL, json=call("c" * 11)), 400, "invalid_text")["param"] == "input[0]"
        for image in (jpeg(120, 100), png_header_of(101, 100), b"\xff\xd8\xff" + bytes(5_000)):
            response = await client.post(URL, json=call(["a", data_uri(image)]))
            assert error_of(response, 413, "image_too_large")["param"] == "input[1]"


async def test_a_body_beyond_the_limit_is_refused(make_app: MakeApp, serve: Serve) -> None:
    async with serve(make_app(max_body_bytes=10_000)) as client:
        error_of(await client.post(URL, json=call(["x" * 1_000] * 20)), 413, "payload_too_large")


async def test_no_work_is_done_for_a_call_with_a_bad_input(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    await client.post(URL, json=call(["a cat", IMAGE, ""]))
    assert fake_engine.calls == []


@pytest.mark.parametrize("tower", ["large_image", "large_text"])
async def test_a_failing_backbone_fails_the_committee_and_no_other(
    client: httpx2.AsyncClient, fake_engine: FakeEngine, tower: str
) -> None:
    fake_engine.faults.failing = {tower}
    response = await client.post(URL, json=call(["a cat", IMAGE]))
    assert error_of(response, 502, "backbone_failed")["param"] is None
    assert int(response.headers["retry-after"]) >= 1
    await embed(client, ["a cat", IMAGE], "small")


async def test_what_the_caller_can_mend_comes_before_what_is_ours(
    client: httpx2.AsyncClient, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.failing = {"small_image", "large_image", "small_text", "large_text"}
    response = await client.post(URL, json=call(["a cat", IMAGE, BROKEN]))
    assert error_of(response, 400, "invalid_image")["param"] == "input[2]"


@pytest.mark.parametrize("given", ["a cat", IMAGE, ["a cat", IMAGE]], ids=["text", "image", "both"])
async def test_a_slow_backbone_is_waited_for_until_the_deadline(
    client: httpx2.AsyncClient, fake_engine: FakeEngine, given: object
) -> None:
    fake_engine.faults.delay_s = {"large_image": 9.0, "large_text": 9.0}
    response = await client.post(URL, json=call(given, deadline_ms=150))
    assert error_of(response, 504, "deadline_exceeded")["param"] is None
    await embed(client, given, "small", deadline_ms=5_000)


async def test_the_default_deadline_holds(make_app: MakeApp, serve: Serve, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"small_text": 9.0}
    async with serve(make_app(engine=fake_engine, default_deadline_ms=100)) as client:
        error_of(await client.post(URL, json=call()), 504, "deadline_exceeded")


async def test_a_busy_server_says_so_before_it_reads(make_app: MakeApp, serve: Serve, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"small_text": 0.5}
    async with serve(make_app(engine=fake_engine, max_inflight_requests=1)) as client:
        first = asyncio.create_task(client.post(URL, json=call()))
        while not fake_engine.calls:
            await asyncio.sleep(0.01)
        headers = {"content-type": "application/json"}
        refused = await client.post(URL, content=Unread(), headers=headers)
        error_of(refused, 429, "overloaded")
        assert (await first).status_code == 200


async def test_a_key_is_asked_for_where_keys_are_set(make_app: MakeApp, serve: Serve, tmp_path: Path) -> None:
    async with serve(make_app(api_keys_file=keys_file(tmp_path, "secret"))) as client:
        error_of(await client.post(URL, json=call()), 401, "unauthorized")
        sent = await client.post(URL, json=call(), headers={"Authorization": "Bearer secret"})
        assert sent.status_code == 200


async def test_json_is_the_only_body_it_reads(client: httpx2.AsyncClient) -> None:
    error_of(await client.post(URL, content=b"{"), 415, "unsupported_media_type")
    error_of(await client.post(URL, content=b"{", headers={"content-type": "application/json"}), 400, "malformed_body")
    error_of(await client.post(URL, files={"input": jpeg()}), 415, "unsupported_media_type")
    half = b'{"model": "small", "input": "\\ud800"}'
    error_of(await client.post(URL, content=half, headers={"content-type": "application/json"}), 400, "malformed_body")
