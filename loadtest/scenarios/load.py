"""Throughput and latency under load: a closed loop over concurrencies, an open loop over rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from loadtest.client import Arrivals, Timing, closed_loop, open_loop, schedule
from loadtest.gateway import Target
from loadtest.payload import ClassifyRequests, Question
from loadtest.scenarios.bench import Bench, Run, under_load, warm

CONCURRENCIES = (1, 4, 16, 64)
LOADS = (0.5, 0.8, 1.2)
CAPACITY_CONCURRENCY = 16


@dataclass(frozen=True, slots=True)
class Case:
    """One question, asked about new images every time or (`repeat`) about the same few again."""

    name: str
    question: Question
    repeat: bool = False


def closed(bench: Bench, cases: Sequence[Case], concurrencies: Sequence[int], timing: Timing) -> Iterator[Run]:
    """Per case and concurrency: images/s, latency percentiles, memory. Every case gets a fresh gateway, unless an
    external one is asked."""
    for case in cases:
        with bench.target() as gateway:
            requests = bench.requests(gateway, case.question, repeat=case.repeat)
            warm(gateway, requests)
            for clients in concurrencies:
                load = partial(closed_loop, requests=requests, concurrency=clients, timing=timing)
                tally, cost = under_load(gateway, load)
                yield {"case": case.name, "concurrency": clients} | tally.summary() | cost


def open_(
    bench: Bench, cases: Sequence[Case], loads: Sequence[float], timing: Timing, arrivals: Arrivals, seed: int
) -> Iterator[Run]:
    """Per case and load: latency from the scheduled arrival on, refusals, goodput.

    A load is a share of the capacity, which a closed loop measures just before on the same gateway: 1.2 is an overload.
    """
    for case in cases:
        with bench.target() as gateway:
            requests = bench.requests(gateway, case.question, repeat=case.repeat)
            warm(gateway, requests)
            capacity_per_s = _capacity_per_s(gateway, requests, timing)
            for share in loads:
                rate_per_s = capacity_per_s * share
                due_s = schedule(rate_per_s, timing.warmup_s + timing.duration_s, arrivals, seed)
                load = partial(open_loop, requests=requests, arrivals_s=due_s, timing=timing)
                tally, cost = under_load(gateway, load)
                about = {"case": case.name, "load": share, "offered_per_s": round(rate_per_s, 2)}
                yield about | {"capacity_per_s": round(capacity_per_s, 2)} | tally.summary() | cost


def _capacity_per_s(gateway: Target, requests: ClassifyRequests, timing: Timing) -> float:
    """Answers per second to a moderate closed loop; at least 1, so that a rate can be made of it."""
    load = partial(closed_loop, requests=requests, concurrency=CAPACITY_CONCURRENCY, timing=timing)
    tally, _ = under_load(gateway, load)
    return max(1.0, tally.images_per_s)
