"""Backbones that fail, die or are slow: the others answer, nobody hangs, and health says what is broken."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from service.pipeline.label_matrices import MAX_UNATTENDED
from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, classify, classify_call, classify_one, error_of, probabilities
from tests.support.images import jpeg

SLOW_S = 30.0
GRACE_S = 1.0
BOTH = {"small_image", "large_image"}


async def timed(client: httpx2.AsyncClient, *images: bytes | str, **fields: Any) -> tuple[httpx2.Response, float]:
    started_s = time.monotonic()
    response = await client.post("/v1/classify", json=classify_call(*images, **fields))
    return response, time.monotonic() - started_s


@pytest.mark.parametrize("tower", ["small_image", "small_text"])
@pytest.mark.parametrize("fault", ["failing", "dead"])
async def test_the_others_answer_for_one_that_fails(
    client: httpx2.AsyncClient, fake_engine: FakeEngine, tower: str, fault: str
) -> None:
    setattr(fake_engine.faults, fault, {tower})
    for seed, result in enumerate((await classify(client, jpeg(seed=0), jpeg(seed=1)))["results"]):
        assert list(result["backbones"]) == ["large"]
        assert (result["degraded"], result["exit_reason"]) == (True, "degraded")
        assert result["gflops_full"] == 1.75
        alone = await classify_one(client, jpeg(seed=seed), policy="single", backbones=["large"])
        # The mean speaks by its logarithm in single precision, one backbone alone by its logits.
        assert probabilities(result) == pytest.approx(probabilities(alone), rel=1e-5)


@pytest.mark.parametrize("tower", ["small_image", "small_text"])
async def test_at_the_deadline_those_who_are_done_answer(
    client: httpx2.AsyncClient, fake_engine: FakeEngine, tower: str
) -> None:
    fake_engine.faults.delay_s = {tower: SLOW_S}
    response, seconds = await timed(client, jpeg(seed=1), jpeg(seed=2), deadline_ms=300)
    assert response.status_code == 200
    for result in response.json()["results"]:
        assert list(result["backbones"]) == ["large"]
        assert (result["degraded"], result["exit_reason"]) == (False, "deadline")
    assert 0.25 <= seconds < 0.3 + GRACE_S


@pytest.mark.parametrize("towers", [BOTH, {"small_text", "large_text"}, {"small_image", "large_text"}])
async def test_nobody_in_time_is_a_504_at_the_deadline(
    client: httpx2.AsyncClient, fake_engine: FakeEngine, towers: set[str]
) -> None:
    fake_engine.faults.delay_s = dict.fromkeys(towers, SLOW_S)
    response, seconds = await timed(client, jpeg(), deadline_ms=300)
    assert error_of(response, 504, "deadline_exceeded")["type"] == "timeout_error"
    assert seconds < 0.3 + GRACE_S


async def test_a_deadline_that_is_over_at_once_is_a_504_at_once(client: httpx2.AsyncClient) -> None:
    response, seconds = await timed(client, jpeg(), deadline_ms=1)
    assert response.status_code in (200, 504)
    assert seconds < GRACE_S


async def test_a_slow_decoder_keeps_the_deadline(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("service.pipeline.embed.decode", lambda *_: release.wait(SLOW_S))
    response, seconds = await timed(client, jpeg(), deadline_ms=300)
    release.set()
    error_of(response, 504, "deadline_exceeded")
    assert seconds < 0.3 + GRACE_S


@pytest.mark.parametrize("images", [1, 3])
async def test_when_all_fail_the_call_fails(client: httpx2.AsyncClient, fake_engine: FakeEngine, images: int) -> None:
    fake_engine.faults.failing = BOTH
    response, _ = await timed(client, *[jpeg(seed=seed) for seed in range(images)])
    assert error_of(response, 502, "backbone_failed")["param"] is None
    assert int(response.headers["retry-after"]) >= 1


async def test_when_all_are_dead_the_server_is_unavailable_and_unhealthy(
    client: httpx2.AsyncClient, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.dead = BOTH
    response, _ = await timed(client, jpeg(), jpeg(seed=1))
    error_of(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1
    error_of(await client.get("/healthz"), 503, "unavailable")


async def test_what_is_cached_is_answered_by_the_dead(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    before = await classify_one(client, jpeg())
    fake_engine.faults.dead = BOTH
    after = await classify_one(client, jpeg())
    assert probabilities(after) == probabilities(before)
    assert not after["degraded"]


async def test_a_broken_image_among_failures_is_still_its_own_error(
    client: httpx2.AsyncClient, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.failing = BOTH
    answer = await classify(client, b"broken", jpeg())
    assert [result["error"]["code"] for result in answer["results"]] == ["invalid_image", "backbone_failed"]


async def test_a_failure_is_not_remembered(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    fake_engine.faults.failing = {"small_image", "large_text"}
    error_of((await timed(client, jpeg()))[0], 502, "backbone_failed")
    fake_engine.faults.failing = set()
    assert not (await classify_one(client, jpeg()))["degraded"]


async def test_slow_requests_do_not_hold_up_others(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    await classify(client, jpeg(), backbones=["large"])
    fake_engine.faults.delay_s = {"small_image": SLOW_S}
    waiting = [asyncio.create_task(timed(client, jpeg(seed=seed), deadline_ms=700)) for seed in range(20)]
    await asyncio.sleep(0.05)
    quick, seconds = await timed(client, jpeg(seed=99), backbones=["large"])
    assert quick.status_code == 200
    assert seconds < 0.5
    for response, waited_s in await asyncio.gather(*waiting):
        assert response.json()["results"][0]["exit_reason"] == "deadline"
        assert waited_s < 0.7 + GRACE_S


async def test_what_is_no_image_does_not_wait_for_labels(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"small_text": SLOW_S}
    response, seconds = await timed(client, "!", deadline_ms=5_000)
    error_of(response, 400, "invalid_image")
    assert seconds < GRACE_S
    assert fake_engine.calls == []


async def test_callers_of_short_deadlines_cannot_pile_up_work(
    make_app: MakeApp, serve: Serve, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.delay_s = {"small_text": SLOW_S, "large_text": SLOW_S}
    app = make_app(engine=fake_engine)
    async with serve(app) as client:
        before = len(asyncio.all_tasks())
        for index in range(30):
            response, _ = await timed(client, jpeg(), labels=[f"label {index}", "dog"], deadline_ms=10)
            error_of(response, 504, "deadline_exceeded")
        async with asyncio.timeout(GRACE_S):  # for what was cancelled to end; it would work for much longer
            while len(asyncio.all_tasks()) - before > MAX_UNATTENDED:
                await asyncio.sleep(0.01)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else is writing to the state file, and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_a_locked_state_file_costs_writers_a_503_and_readers_nothing(
    make_app: MakeApp, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.stores.sqlite.file.BUSY_TIMEOUT_S", 0.1)
    async with serve(make_app()) as client:
        assert (await client.put("/v1/label-sets/pets", json={"labels": LABELS})).status_code == 201
        with locked(tmp_path / "state.sqlite3"):
            for method, body in (("PUT", {"labels": ["car"]}), ("DELETE", None)):
                response = await client.request(method, "/v1/label-sets/pets", json=body)
                error_of(response, 503, "unavailable")
                assert int(response.headers["retry-after"]) >= 1
            await classify(client, jpeg(), label_set="pets")
        assert (await client.get("/v1/label-sets/pets")).json()["labels"] == LABELS
        assert (await client.put("/v1/label-sets/pets", json={"labels": ["car"]})).status_code == 200


async def test_while_somebody_else_writes_writers_leave_at_their_deadline_and_readers_do_not_wait(
    make_app: MakeApp, serve: Serve, tmp_path: Path
) -> None:
    async with serve(make_app(default_deadline_ms=1_000)) as client:
        await client.put("/v1/label-sets/pets", json={"labels": LABELS})
        with locked(tmp_path / "state.sqlite3"):
            writing = asyncio.create_task(client.put("/v1/label-sets/pets", json={"labels": ["car"]}))
            await asyncio.sleep(0.05)
            response, seconds = await timed(client, jpeg(), label_set="pets", deadline_ms=30_000)
            assert response.status_code == 200
            assert seconds < 4.0, "less than the writer would wait"
            for path in ("/v1/label-sets", "/v1/label-sets/pets", "/v1/jobs"):
                assert (await client.get(path)).status_code == 200
            for writer in (writing, client.delete("/v1/label-sets/pets"), client.delete("/v1/jobs/job_1")):
                error_of(await writer, 504, "deadline_exceeded")
