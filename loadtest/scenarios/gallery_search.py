"""Searches per second of a filled gallery, each case beside plain numpy over the same vectors, measured just before."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from loadtest.client import Requests, Timing, closed_loop
from loadtest.connection import ConnectionLostError, Pool, Response
from loadtest.gateway import Gateway
from loadtest.scenarios.bench import Load, Run, under_load
from loadtest.scenarios.gallery_calls import ask
from loadtest.scenarios.gallery_data import PERCENT, Vectors
from loadtest.scenarios.gallery_payload import embedding_searches, text_searches
from loadtest.scenarios.gallery_plain import plain_call_s
from loadtest.tally import Tally, milliseconds, server_timing_ms

TOP = 10
ALL = 100
FEWEST_CALLS = 4
"""Answers that a case gets at least, where one takes long."""
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class SearchCase:
    """`percent` of the items match its filter; `backbones` are those asked under `single`, else none are named."""

    name: str
    policy: str
    kind: Literal["embedding", "text"] = "embedding"
    backbones: tuple[str, ...] = ()
    min_confidence: float | None = None
    percent: int = ALL

    def fields(self) -> dict[str, Any]:
        """Of the request, beside its queries."""
        fields: dict[str, Any] = {"policy": self.policy, "top_k": TOP}
        if self.backbones:
            fields["backbones"] = list(self.backbones)
        if self.min_confidence is not None:
            fields["min_confidence"] = self.min_confidence
        if self.percent < ALL:
            fields["filter"] = {PERCENT: {"lt": self.percent}}
        return fields


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """Of every case: each number of queries a call at each concurrency; `plain_s` seconds of the baseline before it."""

    queries_per_call: tuple[int, ...]
    concurrencies: tuple[int, ...]
    timing: Timing
    plain_s: float


def search_cases(singles: Sequence[str]) -> list[SearchCase]:
    """Ready embeddings show the search itself, texts the towers besides. `singles` are backbones that are asked alone.

    An embedding is everybody's at once, so a cascade has nothing to save there; with texts the two bounds are measured,
    all leaving after the first stage and none: how many do depends on what is looked for, and this gallery is made up.
    """
    return [
        *(SearchCase(f"single {name}", "single", backbones=(name,)) for name in singles),
        SearchCase("mean", "mean"),
        SearchCase("cascade", "cascade", min_confidence=0.5),
        SearchCase("mean, 1 % match", "mean", percent=1),
        SearchCase("mean, 50 % match", "mean", percent=50),
        SearchCase(f"text, single {singles[0]}", "single", "text", backbones=(singles[0],)),
        SearchCase("text, mean", "mean", "text"),
        SearchCase("text, cascade, all leave early", "cascade", "text", min_confidence=0.0),
        SearchCase("text, cascade, none leaves early", "cascade", "text", min_confidence=1.0),
    ]


def recall_cases(singles: Sequence[str]) -> list[SearchCase]:
    """Those of ready embeddings, once each: to a cascade an embedding is what it is to the mean."""
    return [case for case in search_cases(singles) if case.kind == "embedding" and case.policy != "cascade"]


def searches(
    gateway: Gateway, gallery: str, vectors: Vectors, cases: Sequence[SearchCase], plan: SearchPlan, threads: int
) -> Iterator[Run]:
    """Per case, queries a call and concurrency: the baseline, then the gateway. `threads` is the baseline's."""
    texts = itertools.count()
    for case, per_call in itertools.product(cases, plan.queries_per_call):
        plain = _Plain(vectors, case, per_call, threads, plan.plain_s)
        requests: Requests
        if case.kind == "text":
            requests = text_searches(gallery, gateway.address, texts, per_call, case.fields())
        else:
            requests = embedding_searches(gallery, gateway.address, vectors.queries, per_call, case.fields())
        call_s = probe_s(gateway, requests)
        for clients in plan.concurrencies:
            plain_ms = milliseconds(plain.calls_s())
            tally, cost = under_load(gateway, load_of(requests, clients, plan.timing, call_s))
            yield _run(case, per_call, clients, tally, plain_ms) | cost


def load_of(requests: Requests, clients: int, timing: Timing, call_s: float) -> Load:
    """A closed loop for as long as `timing` says; of calls of which that would count only a few, a few whole rounds."""
    if max(FEWEST_CALLS, 2 * clients) * call_s <= timing.duration_s:
        loop = replace(timing, timeout_s=TIMEOUT_S)
        return partial(closed_loop, requests=requests, concurrency=clients, timing=loop)
    return partial(rounds, requests=requests, clients=clients, count=math.ceil(FEWEST_CALLS / clients))


async def rounds(pool: Pool, requests: Requests, clients: int, count: int) -> Tally:
    """`count` calls by each client, timed to the last answer: slow calls that were sent together are answered together,
    and the end of a window would cut such a burst off."""
    tally, started_s = Tally(0.0), time.perf_counter()

    async def client() -> None:
        for _ in range(count):
            sent_s = time.perf_counter()
            try:
                outcome: Response | str = await pool.request(next(requests), TIMEOUT_S)
            except (TimeoutError, ConnectionLostError, OSError) as error:
                outcome = type(error).__name__
            tally.add(outcome, time.perf_counter() - sent_s)

    await asyncio.gather(*(client() for _ in range(clients)))
    tally.duration_s = time.perf_counter() - started_s
    return tally


def describe_answers(answers: Sequence[Response]) -> dict[str, Any]:
    """What the kept answers say: tower calls per query, how queries ended, and the fewest hits that one had."""
    bodies = [json.loads(answer.body) for answer in answers]
    results = [result for body in bodies for result in body["results"]]
    good = [result for result in results if "error" not in result]
    calls = sum(sum(body["usage"]["backbone_calls"].values()) for body in bodies)
    return {
        "queries_read": len(results),
        "failed_queries": len(results) - len(good),
        "calls_per_query": round(calls / len(results), 3) if results else None,
        "exits": dict(Counter(result["exit_reason"] for result in good)),
        "hits_min": min((len(result["hits"]) for result in good), default=None),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Plain:
    """The baseline of one case: the vectors of those who are asked, side by side, and nothing else."""

    vectors: Vectors
    case: SearchCase
    per_call: int
    threads: int
    duration_s: float

    def calls_s(self) -> list[float]:
        asked = self.case.backbones or tuple(self.vectors.places)
        columns = self.vectors.columns(asked)
        items = np.ascontiguousarray(self.vectors.items[:, columns])
        queries = np.ascontiguousarray(self.vectors.queries[:, columns])
        matching = None if self.case.percent == ALL else self.vectors.below(self.case.percent)
        return plain_call_s(items, queries, self.per_call, TOP, matching, self.threads, self.duration_s)


def probe_s(gateway: Gateway, requests: Requests) -> float:
    """Seconds of the second call; the first one finds nothing warm."""
    ask(gateway, next(requests))
    started_s = time.perf_counter()
    ask(gateway, next(requests))
    return time.perf_counter() - started_s


def _run(case: SearchCase, per_call: int, clients: int, tally: Tally, plain_ms: Mapping[str, float] | None) -> Run:
    """Searches are queries, however many go in a call; the baseline's rate is that of its median call."""
    per_s = tally.images_per_s * per_call
    plain_per_s = per_call * 1000.0 / plain_ms["p50"] if plain_ms else float("nan")
    return {
        "part": "search",
        "case": case.name,
        "queries_per_call": per_call,
        "concurrency": clients,
        "searches_per_s": round(per_s, 2),
        "plain_searches_per_s": round(plain_per_s, 2),
        "ratio_to_plain": round(per_s / plain_per_s, 4),
        "answered": len(tally.latencies_s),
        "duration_s": round(tally.duration_s, 3),
        "refused_429": len(tally.refused_after_s),
        "errors": dict(tally.errors),
        "latency_ms": milliseconds(tally.latencies_s),
        "plain_ms": plain_ms,
        "server_timing_ms": server_timing_ms(tally.answers),
        **describe_answers(tally.answers),
    }
