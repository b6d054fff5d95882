from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from service.deadline import Deadline
from service.engines import workers
from service.engines.base import Row
from service.engines.workers import TowerWorkers
from service.errors import BackboneFailedError, DeadlineExceededError, UnavailableError
from tests.support.pipeline import Observations


class Tower:
    """A tower that doubles its rows, blocks while `gate` is closed, and fails or dies on marked rows."""

    POISON, DEADLY, NAN = 13.0, 666.0, 404.0

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.batches: list[list[float]] = []

    def __call__(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        rows = np.asarray(batch, dtype=np.float32)
        self.batches.append(rows[:, 0].tolist())
        self.started.set()
        assert self.gate.wait(10)
        if (rows == self.DEADLY).any():
            raise SystemExit
        if (rows == self.POISON).any():
            raise RuntimeError("secret of the execution provider")
        return np.where(rows == self.NAN, np.nan, rows * 2).astype(np.float32)


def row(value: float) -> Row:
    return np.full(2, value, dtype=np.float32)


@pytest.fixture
def tower() -> Tower:
    return Tower()


@pytest.fixture
def observations() -> Observations:
    return Observations()


@pytest.fixture
def pool(tower: Tower, observations: Observations) -> Iterator[TowerWorkers]:
    pool = TowerWorkers("a_image", tower, count=1, max_batch=4, observer=observations)
    pool.start()
    yield pool
    tower.gate.set()
    pool.close()


def test_a_stuck_worker_holds_up_no_shutdown(
    tower: Tower, observations: Observations, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "CLOSE_LIMIT_S", 0.2, raising=False)
    pool = TowerWorkers("a_image", tower, count=2, max_batch=1, observer=observations)
    pool.start()

    async def ask() -> None:
        calls = [pool.embed([row(value)], Deadline.after(0.1)) for value in (1, 2)]
        await asyncio.gather(*calls)

    tower.gate.clear()
    try:
        asyncio.run(ask())
        began_s = time.monotonic()
        pool.close()
        assert time.monotonic() - began_s < 5
        assert "a worker of a_image does not end" in caplog.text
    finally:
        tower.gate.set()


async def blocked(pool: TowerWorkers, tower: Tower) -> asyncio.Task[list[object]]:
    """A call that keeps the only worker busy until the gate opens."""
    tower.gate.clear()
    task = asyncio.create_task(pool.embed([row(1)], Deadline.after(10)))
    await asyncio.to_thread(tower.started.wait, 10)
    return task  # type: ignore[return-value]  # nobody looks into it


async def test_rows_are_answered_in_order(pool: TowerWorkers) -> None:
    outcomes = await pool.embed([row(value) for value in range(10)], Deadline.after(5))
    assert [float(np.asarray(outcome)[0]) for outcome in outcomes] == [2.0 * value for value in range(10)]


async def test_an_idle_worker_does_not_wait_for_a_batch(pool: TowerWorkers, tower: Tower) -> None:
    await pool.embed([row(1)], Deadline.after(5))
    assert tower.batches == [[1.0]]


async def test_what_waits_becomes_one_batch_up_to_the_largest(
    pool: TowerWorkers, tower: Tower, observations: Observations
) -> None:
    first = await blocked(pool, tower)
    waiting = [asyncio.create_task(pool.embed([row(value)], Deadline.after(10))) for value in range(2, 8)]
    await asyncio.sleep(0.05)
    tower.gate.set()
    await asyncio.gather(first, *waiting)
    assert tower.batches == [[1.0], [2.0, 3.0, 4.0, 5.0], [6.0, 7.0]]
    assert observations.batches == [("a_image", 1), ("a_image", 4), ("a_image", 2)]


async def test_one_poisoned_row_does_not_fail_its_batch_neighbours(pool: TowerWorkers) -> None:
    rows = [row(1), row(Tower.POISON), row(3)]
    good, poisoned, also_good = await pool.embed(rows, Deadline.after(5))
    assert (np.asarray(good)[0], np.asarray(also_good)[0]) == (2.0, 6.0)
    assert isinstance(poisoned, BackboneFailedError)
    assert "secret" not in poisoned.message
    assert pool.problem() is None


async def test_a_row_that_is_not_finite_is_a_failure(pool: TowerWorkers) -> None:
    good, bad = await pool.embed([row(1), row(Tower.NAN)], Deadline.after(5))
    assert isinstance(good, np.ndarray)
    assert isinstance(bad, BackboneFailedError)


async def test_a_dead_worker_fails_its_waiters_and_says_so(pool: TowerWorkers, tower: Tower) -> None:
    tower.gate.clear()
    deadly = asyncio.create_task(pool.embed([row(Tower.DEADLY)], Deadline.after(30)))
    await asyncio.to_thread(tower.started.wait, 10)
    waiting = asyncio.create_task(pool.embed([row(1)], Deadline.after(30)))
    await asyncio.sleep(0.05)
    tower.gate.set()
    async with asyncio.timeout(5):
        outcomes = [*await deadly, *await waiting, *await pool.embed([row(2)], Deadline.after(30))]
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
    assert "died" in str(pool.problem())


async def test_a_stuck_worker_is_a_problem(pool: TowerWorkers, tower: Tower, monkeypatch: pytest.MonkeyPatch) -> None:
    task = await blocked(pool, tower)
    assert pool.problem() is None
    monkeypatch.setattr(workers, "STALLED_AFTER_S", 0.0)
    assert "stuck" in str(pool.problem())
    tower.gate.set()
    await task


async def test_callers_leave_at_their_deadline_with_what_is_done(pool: TowerWorkers, tower: Tower) -> None:
    task = await blocked(pool, tower)
    started_s = time.monotonic()
    (late,) = await pool.embed([row(2)], Deadline.after(0.1))
    assert isinstance(late, DeadlineExceededError)
    assert time.monotonic() - started_s < 2
    tower.gate.set()
    await task


async def test_nobody_works_for_callers_that_left(pool: TowerWorkers, tower: Tower) -> None:
    task = await blocked(pool, tower)
    await pool.embed([row(2)], Deadline.after(0.05))
    cancelled = asyncio.create_task(pool.embed([row(3)], Deadline.after(10)))
    await asyncio.sleep(0.05)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    tower.gate.set()
    await task
    await pool.embed([row(4)], Deadline.after(5))
    assert tower.batches == [[1.0], [4.0]]


async def test_closing_fails_whoever_waits(pool: TowerWorkers, tower: Tower) -> None:
    first = await blocked(pool, tower)
    waiting = asyncio.create_task(pool.embed([row(2)], Deadline.after(30)))
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(asyncio.to_thread(pool.close))
    (outcome,) = await waiting
    assert isinstance(outcome, UnavailableError)
    tower.gate.set()
    await asyncio.gather(first, closing)
    (after,) = await pool.embed([row(3)], Deadline.after(30))
    assert isinstance(after, UnavailableError)
