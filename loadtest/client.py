"""The two ways to apply load: a closed loop of N clients, and an open loop of scheduled arrivals.

A closed loop slows down with the server, so it finds the throughput at a concurrency and never an overload. An open
loop sends when its schedule says so; a latency is counted from the *scheduled* arrival, so a request that waited
because the generator or the server was late counts that wait too (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from loadtest.connection import ConnectionLostError, Pool, Response
from loadtest.tally import Tally, retry_after_s

Arrivals = Literal["poisson", "constant"]
Requests = Iterator[Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to load, in seconds. What happens during `warmup_s` is not counted."""

    warmup_s: float
    duration_s: float
    timeout_s: float = 30.0


async def closed_loop(pool: Pool, requests: Requests, concurrency: int, timing: Timing) -> Tally:
    """`concurrency` clients, each sending its next request when the last one was answered.

    Counted is what was answered between the end of the warm-up and the end of the run. A client that got a 429 waits as
    its Retry-After says before it sends again, like a well-behaved one. The rate's time runs from the last answer
    before that window to the last one in it: answers come in bursts of a batch, and a window that cuts a burst off
    would be wrong by a batch.
    """
    tally = Tally(timing.duration_s)
    start = time.perf_counter()
    counted_from, stop = start + timing.warmup_s, start + timing.warmup_s + timing.duration_s
    last_before, last_counted = counted_from, 0.0

    async def client() -> None:
        nonlocal last_before, last_counted
        while (sent := time.perf_counter()) < stop:
            outcome = await _send(pool, next(requests), timing.timeout_s)
            now = time.perf_counter()
            if now < counted_from:
                last_before = now
            elif now <= stop:
                last_counted = now
                tally.add(outcome, now - sent)
            if pause_s := _retry_after_s(outcome):
                await asyncio.sleep(min(pause_s, max(0.0, stop - now)))

    await asyncio.gather(*(client() for _ in range(concurrency)))
    if last_counted:
        tally.duration_s = last_counted - last_before
    return tally


async def open_loop(pool: Pool, requests: Requests, arrivals_s: NDArray[np.float64], timing: Timing) -> Tally:
    """Send at `arrivals_s` (float64[n], seconds from the start, ascending) whatever the server does.

    Counted is every request that was scheduled after the warm-up, however late its answer came.
    """
    tally = Tally(timing.duration_s)
    start = time.perf_counter()

    async def arrival(offset_s: float, parts: Sequence[bytes]) -> None:
        outcome = await _send(pool, parts, timing.timeout_s)
        if offset_s >= timing.warmup_s:
            tally.add(outcome, time.perf_counter() - start - offset_s)

    async with asyncio.TaskGroup() as group:
        for offset_s in arrivals_s.tolist():
            if (wait_s := start + offset_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            group.create_task(arrival(offset_s, next(requests)))
    return tally


def schedule(rate_per_s: float, total_s: float, arrivals: Arrivals, seed: int) -> NDArray[np.float64]:
    """Arrival times in [0, total_s), ascending: evenly spaced, or of a Poisson process (independent users)."""
    if arrivals == "constant":
        return np.arange(0.0, total_s, 1.0 / rate_per_s)
    expected = rate_per_s * total_s
    gaps_s = np.random.default_rng(seed).exponential(1.0 / rate_per_s, int(expected + 10 * expected**0.5 + 10))
    times_s = np.cumsum(gaps_s)
    return times_s[times_s < total_s]


async def _send(pool: Pool, parts: Sequence[bytes], timeout_s: float) -> Response | str:
    """The response, or in one word why there is none."""
    try:
        return await pool.request(parts, timeout_s)
    except TimeoutError:
        return "timeout"
    except ConnectionLostError:
        return "connection lost"
    except OSError:
        return "not connected"


def _retry_after_s(outcome: Response | str) -> float:
    if isinstance(outcome, str):
        return 0.05  # the server is gone or stuck: do not spin
    if outcome.status != 429:
        return 0.0
    told_s = retry_after_s(outcome)
    return 1.0 if told_s is None else told_s
