"""Sessions of the embedded engine that raise, die, hang or answer nonsense behind a running API."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray

from service.engines.workers import TowerWorkers
from tests.conftest import MakeApp, Serve
from tests.integration.test_faults import BOTH, GRACE_S, SLOW_S, timed
from tests.support.api import classify, classify_call, classify_one, error_of
from tests.support.images import jpeg

Run = Callable[[NDArray[Any]], NDArray[np.float32]]


class Sessions:
    """The real engine's sessions. `faults[tower]` gets each batch first, and may answer in the session's place."""

    def __init__(self, app: FastAPI) -> None:
        self.faults: dict[str, Callable[[NDArray[Any]], NDArray[np.float32] | None]] = {}
        for tower, workers in app.state.services.engine._workers.items():
            self._stand_before(tower, workers)

    def _stand_before(self, tower: str, workers: TowerWorkers) -> None:
        run: Run = workers._run_batch

        def faulty(batch: NDArray[Any]) -> NDArray[np.float32]:
            answer = self.faults[tower](batch) if tower in self.faults else None
            return run(batch) if answer is None else answer

        workers._run_batch = faulty


def raises(error: BaseException) -> Callable[[NDArray[Any]], None]:
    def fault(_: NDArray[Any]) -> None:
        raise error

    return fault


@pytest.fixture
async def embedded(make_app: MakeApp, serve: Serve) -> AsyncIterator[tuple[httpx2.AsyncClient, Sessions]]:
    """The API on the embedded engine, and its sessions."""
    app = make_app(engine="onnx")
    async with serve(app) as client:
        await classify(client, jpeg(seed=99))
        yield client, Sessions(app)


async def test_a_session_that_fails_degrades_and_recovers(embedded: tuple[httpx2.AsyncClient, Sessions]) -> None:
    client, sessions = embedded
    sessions.faults["small_image"] = raises(RuntimeError("a secret of the runtime"))
    answer = await client.post("/v1/classify", json=classify_call(jpeg(), jpeg(seed=1)))
    assert [result["degraded"] for result in answer.json()["results"]] == [True, True]
    assert "secret" not in answer.text
    assert (await client.get("/healthz")).status_code == 200, "a failure on an input is not the end of a worker"
    sessions.faults.clear()
    assert not (await classify_one(client, jpeg()))["degraded"]


async def test_a_row_that_a_session_fails_on_does_not_fail_its_neighbours(
    embedded: tuple[httpx2.AsyncClient, Sessions],
) -> None:
    client, sessions = embedded

    def allergic(batch: NDArray[Any]) -> None:
        if any(int(row.max()) == 0 for row in batch):
            raise RuntimeError("black")

    black = "data:image/bmp;base64,Qk06AAAAAAAAADYAAAAoAAAAAQAAAAEAAAABABgAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
    sessions.faults["small_image"] = allergic
    results = (await classify(client, jpeg(), black, jpeg(seed=1)))["results"]
    assert [result["degraded"] for result in results] == [False, True, False]


async def test_numbers_that_are_none_are_a_failure_and_never_an_answer(
    embedded: tuple[httpx2.AsyncClient, Sessions],
) -> None:
    client, sessions = embedded
    sessions.faults = {tower: lambda batch: np.full((len(batch), 8), np.nan, dtype=np.float32) for tower in BOTH}
    error_of((await timed(client, jpeg()))[0], 502, "backbone_failed")


async def test_a_worker_that_dies_fails_its_waiters_at_once_and_turns_health_red(
    embedded: tuple[httpx2.AsyncClient, Sessions],
) -> None:
    client, sessions = embedded
    sessions.faults = {tower: raises(SystemExit("out")) for tower in BOTH}
    response, seconds = await timed(client, jpeg(), jpeg(seed=1), deadline_ms=20_000)
    error_of(response, 503, "unavailable")
    assert seconds < 5.0, "long before the deadline"
    sessions.faults.clear()
    later, seconds = await timed(client, jpeg(seed=2), deadline_ms=20_000)
    error_of(later, 503, "unavailable")
    assert seconds < 5.0
    for path in ("/healthz", "/readyz"):
        assert "died" in error_of(await client.get(path), 503, "unavailable")["message"]


async def test_a_large_label_set_does_not_keep_a_small_one_waiting(
    embedded: tuple[httpx2.AsyncClient, Sessions],
) -> None:
    client, sessions = embedded

    def slow(_: NDArray[Any]) -> None:
        time.sleep(0.02)

    sessions.faults = {"small_text": slow, "large_text": slow}
    many = {"labels": [f"label {index}" for index in range(1_000)], "templates": [f"{{}} {n}" for n in range(10)]}
    first = asyncio.create_task(timed(client, jpeg(), **many, deadline_ms=2_000))
    await asyncio.sleep(0.1)
    response, seconds = await timed(client, jpeg(), labels=["cat", "dog"], deadline_ms=2_000)
    assert response.json()["results"][0]["exit_reason"] == "last_stage"
    assert seconds < 1.0
    await first


async def test_a_session_that_hangs_holds_nobody_beyond_the_deadline(
    embedded: tuple[httpx2.AsyncClient, Sessions], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, sessions = embedded
    release = threading.Event()

    def hangs(_: NDArray[Any]) -> None:
        release.wait(SLOW_S)

    sessions.faults = dict.fromkeys(BOTH, hangs)
    answers = await asyncio.gather(*[timed(client, jpeg(seed=seed), deadline_ms=400) for seed in range(6)])
    for response, seconds in answers:
        error_of(response, 504, "deadline_exceeded")
        assert seconds < 0.4 + GRACE_S
    monkeypatch.setattr("service.engines.workers.STALLED_AFTER_S", 0.1)
    assert "stuck" in error_of(await client.get("/healthz"), 503, "unavailable")["message"]
    release.set()
    monkeypatch.undo()
    assert not (await classify_one(client, jpeg(seed=50)))["degraded"]
    assert (await client.get("/healthz")).status_code == 200
