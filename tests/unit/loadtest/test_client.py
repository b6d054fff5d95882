"""The two loops against a stub whose behaviour is known."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from loadtest import client
from loadtest.client import Timing, closed_loop, open_loop, schedule
from loadtest.connection import Pool, Response
from loadtest.payload import get
from tests.unit.loadtest.stub import HOST, Asked, Reply, stub_server

REQUESTS = itertools.repeat(get("/", HOST))
SHORT = Timing(warmup_s=0.0, duration_s=0.3, timeout_s=5.0)


async def test_closed_loop_keeps_exactly_its_concurrency_in_flight() -> None:
    in_flight, seen = 0, []

    async def slow(_: Asked) -> Reply:
        nonlocal in_flight
        in_flight += 1
        seen.append(in_flight)
        await asyncio.sleep(0.02)
        in_flight -= 1
        return Reply()

    async with stub_server(slow) as port:
        tally = await closed_loop(Pool(HOST, port), REQUESTS, 4, SHORT)
    assert max(seen) == 4
    assert min(tally.latencies_s) >= 0.02


async def test_closed_loop_goes_on_where_a_proxy_names_a_date_to_come_back_at() -> None:
    async def refuse(_: Asked) -> Reply:
        return Reply(429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})

    async with stub_server(refuse) as port:
        tally = await closed_loop(Pool(HOST, port), REQUESTS, 2, SHORT)
    assert tally.summary()["refused_429"] == 2  # and a second to wait, which is longer than the run
    assert tally.summary()["retry_after_s"] is None


async def test_closed_loop_does_not_count_the_warm_up() -> None:
    answered = 0

    async def quick(_: Asked) -> Reply:
        nonlocal answered
        answered += 1
        await asyncio.sleep(0.01)
        return Reply()

    async with stub_server(quick) as port:
        tally = await closed_loop(Pool(HOST, port), REQUESTS, 1, Timing(warmup_s=0.3, duration_s=0.1))
    assert len(tally.latencies_s) <= 11
    assert answered > len(tally.latencies_s)


async def test_closed_loop_waits_as_a_refusal_says() -> None:
    asked = 0

    async def full(_: Asked) -> Reply:
        nonlocal asked
        asked += 1
        return Reply(429, {"Retry-After": "1"})

    async with stub_server(full) as port:
        tally = await closed_loop(Pool(HOST, port), REQUESTS, 2, SHORT)
    assert asked == 2
    assert tally.summary()["refused_429"] == 2


async def test_open_loop_counts_latency_from_the_scheduled_arrival() -> None:
    """One answer at a time, 20 ms each, all due at once: the last one waited for the nine before it."""
    one_at_a_time = asyncio.Lock()

    async def serial(_: Asked) -> Reply:
        async with one_at_a_time:
            await asyncio.sleep(0.02)
        return Reply()

    async with stub_server(serial) as port:
        tally = await open_loop(Pool(HOST, port), REQUESTS, np.zeros(10), SHORT)
    latencies_s = sorted(tally.latencies_s)
    assert 0.02 <= latencies_s[0] < latencies_s[-1] / 2
    assert latencies_s[-1] >= 0.2


async def test_open_loop_sends_on_schedule_while_the_server_is_stuck() -> None:
    arrived: list[float] = []

    async def stuck(_: Asked) -> Reply:
        arrived.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.4)
        return Reply()

    async with stub_server(stuck) as port:
        tally = await open_loop(Pool(HOST, port), REQUESTS, np.arange(0.0, 0.2, 0.02), SHORT)
    assert arrived[-1] - arrived[0] < 2.0  # one after the other they would have taken 3.6 s
    assert len(tally.latencies_s) == 10


async def test_open_loop_counts_by_schedule_and_not_by_when_the_answer_came() -> None:
    async def late(_: Asked) -> Reply:
        await asyncio.sleep(0.1)
        return Reply()

    timing = Timing(warmup_s=0.05, duration_s=0.05)
    async with stub_server(late) as port:
        tally = await open_loop(Pool(HOST, port), REQUESTS, np.array([0.0, 0.04, 0.06, 0.09]), timing)
    assert len(tally.latencies_s) == 2


async def test_open_loop_counts_refusals_apart_from_answers_and_errors() -> None:
    replies = itertools.cycle([Reply(), Reply(429, {"Retry-After": "3"}), Reply(500), None])

    async def mixed(_: Asked) -> Reply | None:
        return next(replies)

    async with stub_server(mixed) as port:
        tally = await open_loop(Pool(HOST, port), REQUESTS, np.arange(0.0, 0.2, 0.025), SHORT)
    summary = tally.summary()
    assert (summary["answered"], summary["refused_429"]) == (2, 2)
    assert summary["errors"] == {"500": 2, "connection lost": 2}
    assert summary["retry_after_s"]["median"] == 3.0


async def test_a_request_without_an_answer_times_out_and_is_an_error() -> None:
    async def silent(_: Asked) -> Reply:
        await asyncio.sleep(60)
        return Reply()

    timing = Timing(warmup_s=0.0, duration_s=0.1, timeout_s=0.05)
    async with stub_server(silent) as port:
        tally = await open_loop(Pool(HOST, port), REQUESTS, np.array([0.0, 0.01]), timing)
    assert tally.errors == {"timeout": 2}


async def test_a_server_that_is_not_there_is_an_error_and_not_a_crash() -> None:
    async def never(_: Asked) -> Reply:
        return Reply()

    async with stub_server(never) as port:
        pass
    tally = await open_loop(Pool(HOST, port), REQUESTS, np.zeros(3), SHORT)
    assert tally.errors == {"not connected": 3}


async def test_connections_are_used_again() -> None:
    ports: set[str] = set()

    async def remember(asked: Asked) -> Reply:
        ports.add(asked.headers["host"])
        return Reply()

    async with stub_server(remember) as port:
        pool = Pool(HOST, port)
        for _ in range(3):
            await pool.request(next(REQUESTS), 5.0)
        assert len(pool._idle) == 1
        pool.close()


def test_poisson_arrivals_have_the_rate_and_repeat_with_the_seed() -> None:
    times_s = schedule(200.0, 50.0, "poisson", seed=1)
    assert len(times_s) == pytest.approx(10_000, rel=0.05)
    assert (np.diff(times_s) >= 0).all()
    assert times_s[-1] < 50.0
    # The gaps of a Poisson process vary as much as they last on average.
    assert np.diff(times_s).std() == pytest.approx(np.diff(times_s).mean(), rel=0.1)
    np.testing.assert_array_equal(times_s, schedule(200.0, 50.0, "poisson", seed=1))
    assert not np.array_equal(times_s[:100], schedule(200.0, 50.0, "poisson", seed=2)[:100])


def test_constant_arrivals_are_evenly_spaced() -> None:
    np.testing.assert_allclose(schedule(4.0, 1.0, "constant", seed=0), [0.0, 0.25, 0.5, 0.75])


async def test_closed_loop_rate_is_not_wrong_by_the_burst_that_its_window_cuts_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four answers every 80 ms are 50 per second; counted by the window's 0.3 s it would be 53."""
    pool = BurstPool(size=4, every_s=0.08)
    monkeypatch.setattr(client, "time", SimpleNamespace(perf_counter=lambda: pool.now_s))
    tally = await closed_loop(pool, REQUESTS, 4, Timing(warmup_s=0.2, duration_s=0.3))
    assert len(tally.latencies_s) == 16
    assert tally.images_per_s == pytest.approx(50.0)


class BurstPool(Pool):
    """Answers as soon as `size` requests wait, and says that this took `every_s` seconds."""

    def __init__(self, size: int, every_s: float) -> None:
        super().__init__(HOST, 0)
        self.now_s = 0.0
        self._size, self._every_s = size, every_s
        self._waiting: list[asyncio.Future[Response]] = []

    async def request(self, parts: Sequence[bytes], timeout_s: float) -> Response:  # noqa: ARG002  # the pool's own
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        if len(self._waiting) == self._size:
            self.now_s += self._every_s
            for waiter in self._waiting:
                waiter.set_result(Response(200, {}, b"{}"))
            self._waiting = []
        return await answer
