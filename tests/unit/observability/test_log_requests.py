"""Whose work a line of the log was written for."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from service.deadline import Deadline
from service.engines.fake import FakeEngine
from service.engines.onnx import OnnxEngine
from service.observability.logs import JsonFormatter, RequestFields
from service.pipeline import embed
from service.pipeline.inputs.decode import decode
from service.stores.base import EmbeddingCache
from tests.conftest import MakeApp, served
from tests.support.api import classify_call
from tests.support.images import jpeg

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Written:
    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def written() -> Iterator[Written]:
    """Everything that is logged, as the server's handler writes it."""
    found = Written()
    handler = logging.StreamHandler(found.stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RequestFields())
    root, own = logging.getLogger(), logging.getLogger("service")
    before = own.level
    root.addHandler(handler)
    own.setLevel(logging.DEBUG)
    try:
        yield found
    finally:
        root.removeHandler(handler)
        own.setLevel(before)


async def ask(client: httpx2.AsyncClient, name: str, seed: int = 0) -> httpx2.Response:
    headers = {"x-request-id": name, "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    return await client.post("/v1/classify", json=classify_call(jpeg(seed=seed)), headers=headers)


async def test_every_line_that_a_request_causes_carries_its_id(
    make_app: MakeApp, fake_engine: FakeEngine, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the event loop, in the threads that decode, and in tasks that a request begins."""
    app = make_app(engine=fake_engine)
    services = app.state.services
    get_many, asking = services.classifier._embedder.cache.get_many, fake_engine.embed

    def decoding(*arguments: Any) -> Any:
        logging.getLogger("service.test").warning("in a thread")
        return decode(*arguments)

    async def looking(keys: list[str]) -> Any:
        logging.getLogger("service.test").debug("in the loop")
        return await get_many(keys)

    async def executing(tower: str, rows: Any, deadline: Deadline) -> Any:
        logging.getLogger("service.test").info("in a task")
        await asyncio.sleep(0.01)
        logging.getLogger("a.library").error("later")
        return await asking(tower, rows, deadline)

    cache: EmbeddingCache = services.classifier._embedder.cache
    monkeypatch.setattr(embed, "decode", decoding)
    monkeypatch.setattr(cache, "get_many", looking)
    monkeypatch.setattr(fake_engine, "embed", executing)
    async with served(app) as client:
        await asyncio.gather(*[ask(client, f"request-{number}", number) for number in range(4)])
    said = {line["message"] for line in written.lines}
    assert {"in a thread", "in the loop", "in a task", "later", "POST /v1/classify 200"} <= said
    assert {line.get("request_id") for line in written.lines} == {f"request-{number}" for number in range(4)}
    assert {line["trace_id"] for line in written.lines} == {TRACE}
    for number in range(4):
        mine = [line["message"] for line in written.lines if line["request_id"] == f"request-{number}"]
        assert mine.count("in a thread") == 1
        assert mine.count("POST /v1/classify 200") == 1


async def test_a_batch_that_fails_names_the_requests_in_it(
    make_app: MakeApp, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of the embedded engine is a thread that works for several at once."""
    app = make_app(engine="onnx")
    engine = app.state.services.engine
    assert isinstance(engine, OnnxEngine)
    async with served(app) as client:
        for tower in ("small_text", "small_image"):
            monkeypatch.setattr(engine._workers[tower], "_run_batch", _broken)
        await ask(client, "mine")
    failures = [line for line in written.lines if "failed on a batch" in line["message"]]
    assert failures
    assert {line["request_id"] for line in failures} == {"mine"}


def _broken(_: Any) -> Any:
    raise RuntimeError("of the execution provider")


async def test_lines_outside_of_requests_carry_no_id(
    make_app: MakeApp, fake_engine: FakeEngine, written: Written
) -> None:
    async with served(make_app(engine=fake_engine)) as client:
        await ask(client, "mine")
        logging.getLogger("service.test").warning("between requests")
    (line,) = [line for line in written.lines if line["message"] == "between requests"]
    assert "request_id" not in line
    assert "trace_id" not in line


async def test_what_a_line_says_itself_is_kept(
    make_app: MakeApp, fake_engine: FakeEngine, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job's lines name the request that asked for it, whoever causes them."""
    asking = fake_engine.embed

    async def executing(tower: str, rows: Any, deadline: Deadline) -> Any:
        logging.getLogger("service.test").warning("of another", extra={"request_id": "other"})
        return await asking(tower, rows, deadline)

    monkeypatch.setattr(fake_engine, "embed", executing)
    async with served(make_app(engine=fake_engine)) as client:
        await ask(client, "mine")
    said = {(line["message"], line["request_id"]) for line in written.lines}
    assert said == {("of another", "other"), ("POST /v1/classify 200", "mine")}
