"""`/healthz` turns red when anything in this process is broken for good, and `/readyz` speaks of this process alone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import httpx2
import pytest

from service.engines.onnx import OnnxEngine
from service.engines.workers import TowerWorkers
from service.pipeline import embed
from tests.conftest import MakeApp, Serve, free_port
from tests.support.api import LABELS, classify, classify_call, error_of
from tests.support.images import jpeg
from tests.support.redis import RedisServer

PATIENCE_S = 20.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


def task_named(name: str) -> asyncio.Task[Any]:
    (task,) = [task for task in asyncio.all_tasks() if task.get_name().startswith(name)]
    return task


async def said_by_health(client: httpx2.AsyncClient) -> str:
    """The message of both, which are red."""
    messages = {
        str(error_of(await client.get(path), 503, "unavailable")["message"]) for path in ("/healthz", "/readyz")
    }
    (message,) = messages
    return message


async def kill_task(name: str, client: httpx2.AsyncClient) -> None:
    assert (await client.get("/healthz")).status_code == 200
    task = task_named(name)
    for _ in range(3):  # a wait inside it may swallow one
        task.cancel()
        await asyncio.wait([task], timeout=0.5)
    assert task.done()
    assert task.get_name() in await said_by_health(client)


@pytest.mark.parametrize("name", ["jobs", "sweep jobs", "shadow checks"])
async def test_a_task_of_the_process_that_ends_turns_health_red(make_app: MakeApp, serve: Serve, name: str) -> None:
    async with serve(make_app(engine="fake")) as client:
        await kill_task(name, client)


@pytest.mark.parametrize("name", ["beat", "follow changes", "embedding cache"])
async def test_a_task_beside_redis_that_ends_turns_health_red(
    make_app: MakeApp, serve: Serve, redis: RedisServer, name: str
) -> None:
    async with serve(make_app(engine="fake", state_url=redis.url, cache_url=f"{redis.url[:-1]}1")) as client:
        await kill_task(name, client)


async def test_a_task_beside_triton_that_ends_turns_health_red(make_app: MakeApp, serve: Serve) -> None:
    away = {"triton_urls": (f"127.0.0.1:{free_port()}",), "triton_start_wait_s": 0.1}
    async with serve(make_app(engine="triton", **away)) as client:
        await kill_task("find ", client)


async def test_an_exception_ends_a_task_as_surely(
    make_app: MakeApp, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(engine="fake")
    async with serve(app) as client:
        shadow = app.state.services.shadow

        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(shadow, "_handle", broken)
        shadow._waiting.append(None)
        shadow._wake.set()
        await until(task_named("shadow checks").done)
        assert "shadow checks" in await said_by_health(client)


async def kill_worker(workers: TowerWorkers, monkeypatch: pytest.MonkeyPatch, client: httpx2.AsyncClient) -> None:
    """End a thread as no session does: by what is no `Exception`. Which of them takes the next row is theirs to say."""

    def end_of_thread(_: object) -> NoReturn:
        raise SystemExit

    monkeypatch.setattr(workers, "_run_batch", end_of_thread)
    await classify(client, jpeg(seed=2), labels=[*LABELS, "new"], deadline_ms=2_000)
    await until(lambda: not all(thread.is_alive() for thread in workers._threads))


@pytest.mark.parametrize("tower", ["small_image", "large_text"])
async def test_a_worker_of_the_embedded_engine_that_dies_turns_health_red(
    make_app: MakeApp, serve: Serve, monkeypatch: pytest.MonkeyPatch, tower: str
) -> None:
    app = make_app(engine="onnx")
    async with serve(app) as client:
        engine = app.state.services.engine
        assert isinstance(engine, OnnxEngine)
        await kill_worker(engine._workers[tower], monkeypatch, client)
        assert f"A worker of {tower} died" in await said_by_health(client)
        response = await client.post("/v1/classify", json=classify_call(jpeg(seed=3), labels=[*LABELS, "newer"]))
        assert response.json()["results"][0]["degraded"] is True, "the others answer"


async def test_a_worker_that_goes_without_a_word_turns_health_red_too(
    make_app: MakeApp, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(engine="onnx")
    async with serve(app) as client:
        workers = app.state.services.engine._workers["small_image"]
        monkeypatch.setattr(workers, "_die", lambda _: None)
        await kill_worker(workers, monkeypatch, client)
        assert "A worker of small_image died" in await said_by_health(client)


async def test_a_decoder_that_is_stuck_turns_health_red(
    make_app: MakeApp, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, began = threading.Event(), threading.Event()

    def stuck(*_: object) -> None:
        began.set()
        gate.wait(PATIENCE_S)
        raise ValueError("at last")

    app = make_app(engine="fake", decode_threads=1)
    decoders = app.state.services.classifier._embedder.executor
    monkeypatch.setattr(decoders, "_stuck_after_s", 0.2)
    monkeypatch.setattr(embed, "decode", stuck)
    async with serve(app) as client:
        try:
            call = classify_call(jpeg(), deadline_ms=100)
            error_of(await client.post("/v1/classify", json=call), 504, "deadline_exceeded")
            assert began.is_set()
            await asyncio.sleep(0.3)
            assert "A thread of decode has been stuck" in await said_by_health(client)
        finally:
            gate.set()
        await until(lambda: decoders.problems() == [])
        assert (await client.get("/healthz")).status_code == 200


async def test_shared_services_that_are_away_leave_this_process_ready(make_app: MakeApp, serve: Serve) -> None:
    """Callers hear of it by 503 and `Retry-After`: an empty Service would tell them nothing."""
    away = [free_port() for _ in range(4)]
    app = make_app(
        engine="triton",
        triton_urls=(f"127.0.0.1:{away[0]}",),
        triton_start_wait_s=0.1,
        state_url=f"redis://127.0.0.1:{away[1]}/0",
        cache_url=f"redis://127.0.0.1:{away[2]}/0",
        galleries_url=f"http://127.0.0.1:{away[3]}",
    )
    async with serve(app) as client:
        calls = [
            await client.post("/v1/classify", json=classify_call(jpeg())),
            await client.put("/v1/label-sets/pets", json={"labels": LABELS}),
            await client.get("/v1/galleries"),
        ]
        for response in calls:
            error_of(response, 503, "unavailable")
            assert int(response.headers["retry-after"]) >= 1
        for path in ("/healthz", "/readyz"):
            began_s = time.monotonic()
            assert (await client.get(path)).status_code == 200
            assert time.monotonic() - began_s < 1.0, "nobody is asked"
