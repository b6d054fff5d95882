"""What serving on several processes costs and brings, each beside the plain way and in turn with it.

Four parts: one image through Triton against one through the embedded engine; both engines under load, with the batches
that form; an embedding out of the process's memory, out of Redis, and computed; two gateways behind a proxy and one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import uvloop

from loadtest import raw
from loadtest.client import Timing, closed_loop
from loadtest.connection import Pool, Response
from loadtest.gateway import Gateway, GatewayError
from loadtest.payload import ClassifyRequests, Question
from loadtest.scenarios.bench import Bench, Run, fetch, under_load, warm
from loadtest.scenarios.load import Case
from loadtest.scenarios.overhead import timed_post
from loadtest.servers import CACHE, STATE, TritonPorts, running_proxy, running_redis, sums_by_model
from loadtest.tally import milliseconds, server_timing_ms, spread

AIM_MS = 1.5
"""What a batch of one may take longer through Triton."""

WARMUP_ROUNDS = 10
NO_MEMORY = {"QUORUM_CACHE_MAX_BYTES": "0"}
BEHIND_PROXY = (16, 64)


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """`rounds` of one POST to each side in turn; `concurrencies` of the loads on both engines."""

    rounds: int
    concurrencies: Sequence[int]
    timing: Timing


def cluster(bench: Bench, plan: ClusterPlan) -> Iterator[Run]:
    for run in _parts(bench, plan):
        yield run | {"load_average": round(os.getloadavg()[0], 2)}


def _parts(bench: Bench, plan: ClusterPlan) -> Iterator[Run]:
    with _both_engines(bench) as engines:
        for backbone in raw.backbones(bench.repository):
            yield _overhead(bench, engines, backbone, plan.rounds)
        smallest = Question(policy="single", backbones=(raw.by_size(bench.repository)[0],))
        for name, question in (("one backbone", smallest), ("mean of all", Question(policy="mean"))):
            for clients in plan.concurrencies:
                yield _load(bench, engines, name, question, clients, plan.timing)
    with running_redis(STATE) as state, running_redis(CACHE) as cache:
        yield from _cache(bench, cache, plan.rounds)
        yield from _gateways(bench, {"QUORUM_STATE_URL": state, "QUORUM_CACHE_URL": cache}, plan.timing)


@dataclass(frozen=True, slots=True)
class _Engines:
    embedded: Gateway
    triton: Gateway
    ports: TritonPorts

    def __iter__(self) -> Iterator[Gateway]:
        return iter((self.embedded, self.triton))


@contextmanager
def _both_engines(bench: Bench) -> Iterator[_Engines]:
    ports = TritonPorts.free()
    with ExitStack() as stack:
        embedded = stack.enter_context(bench.gateway())
        prefix = ports.prefix(bench.repository, Path(os.devnull))
        on_triton = replace(bench, command=prefix + bench.command, settings=dict(bench.settings) | ports.settings)
        yield _Engines(embedded, stack.enter_context(on_triton.gateway()), ports)


def _overhead(bench: Bench, engines: _Engines, backbone: str, rounds: int) -> Run:
    """The difference is taken round by round, on the same new image."""
    embedded_s, triton_s = _alternating(bench, list(engines), bench.single(backbone), rounds).seconds
    difference_ms = (triton_s - embedded_s) * 1000.0
    return {
        "part": "overhead",
        "backbone": backbone,
        "rounds": rounds,
        "difference_ms": spread(difference_ms),
        "aim_ms": AIM_MS,
        "aim_met": bool(np.median(difference_ms) <= AIM_MS),
        "embedded_ms": milliseconds(embedded_s),
        "triton_ms": milliseconds(triton_s),
    }


@dataclass(frozen=True, slots=True)
class _Answers:
    """By gateway: seconds per POST float64[rounds], and the answers."""

    seconds: list[np.ndarray]
    answers: list[list[Response]]


def _alternating(
    bench: Bench, gateways: Sequence[Gateway], question: Question, rounds: int, *, repeat: bool = False
) -> _Answers:
    """One client asks the gateways in turn about the same image; who is first changes from round to round."""
    asked = [bench.requests(gateway, question, repeat=repeat) for gateway in gateways]
    for gateway, requests in zip(gateways, asked, strict=True):
        warm(gateway, requests)
    return uvloop.run(_ask_in_turn(gateways, asked, rounds, bench.jpegs if repeat else ()))


async def _ask_in_turn(
    gateways: Sequence[Gateway], asked: Sequence[ClassifyRequests], rounds: int, seen_before: Sequence[bytes]
) -> _Answers:
    pools = [Pool("127.0.0.1", gateway.port) for gateway in gateways]
    measured = _Answers([np.empty(rounds) for _ in gateways], [[] for _ in gateways])
    first = -max(WARMUP_ROUNDS, len(seen_before))
    try:
        for number in range(first, rounds):
            for turn in range(len(pools)):
                which = (number + turn) % len(pools)
                answer, seconds = await timed_post(pools[which], asked[which].parts(number - first))
                if number >= 0:
                    measured.seconds[which][number] = seconds
                    measured.answers[which].append(answer)
    finally:
        for pool in pools:
            pool.close()
    return measured


def _load(bench: Bench, engines: _Engines, name: str, question: Question, clients: int, timing: Timing) -> Run:
    found: dict[str, Run] = {}
    for engine, gateway in zip(("embedded", "triton"), engines, strict=True):
        requests = bench.requests(gateway, question)
        warm(gateway, requests)
        before = _batches(engines, engine)
        load = partial(closed_loop, requests=requests, concurrency=clients, timing=timing)
        tally, cost = under_load(gateway, load)
        rows, batches = (after - start for after, start in zip(_batches(engines, engine), before, strict=True))
        found[engine] = tally.summary() | cost | {"rows_per_batch": round(rows / batches, 2) if batches else None}
    ratio = found["triton"]["images_per_s"] / max(found["embedded"]["images_per_s"], 1e-9)
    return {"part": "load", "case": name, "concurrency": clients, "triton_to_embedded": round(ratio, 3)} | found


def _batches(engines: _Engines, engine: str) -> tuple[float, float]:
    """Rows and batches of image towers so far, as whoever runs them counts them."""
    if engine == "triton":
        page = _get(engines.ports.metrics, "/metrics")
        names = ("nv_inference_count", "nv_inference_exec_count")
    else:
        page = _get(engines.embedded.port, "/metrics").replace('tower="', 'model="')
        names = ("quorum_batch_rows_sum", "quorum_batch_rows_count")
    rows, batches = (sums_by_model(page, name) for name in names)
    towers = [model for model in rows if model.endswith(raw.IMAGE_SUFFIX)]
    return sum(rows[tower] for tower in towers), sum(batches.get(tower, 0.0) for tower in towers)


def _get(port: int, target: str) -> str:
    async def ask() -> Response:
        pool = Pool("127.0.0.1", port)
        try:
            return await fetch(pool, target)
        finally:
            pool.close()

    answer = uvloop.run(ask())
    if answer.status != 200:
        raise GatewayError(f"{target} was answered with {answer.status} on port {port}.")
    return answer.body.decode()


def _cache(bench: Bench, redis_url: str, rounds: int) -> Iterator[Run]:
    """The same few images again and again: known to the process, to Redis alone, or to nobody."""
    tiers = {"memory": {}, "redis": {"QUORUM_CACHE_URL": redis_url} | NO_MEMORY, "none": NO_MEMORY}
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(replace(bench, settings=dict(bench.settings) | settings).gateway())
            for settings in tiers.values()
        ]
        measured = _alternating(bench, gateways, Question(policy="mean"), rounds, repeat=True)
    for tier, seconds, answers in zip(tiers, measured.seconds, measured.answers, strict=True):
        yield {
            "part": "cache",
            "tier": tier,
            "rounds": rounds,
            "backbones": len(raw.backbones(bench.repository)),
            "post_us": spread(seconds * 1e6),
            "beyond_memory_us": spread((seconds - measured.seconds[0]) * 1e6),
            "stages_us": {name: round(value * 1000.0, 1) for name, value in server_timing_ms(answers).items()},
        }


def _gateways(bench: Bench, shared: Mapping[str, str], timing: Timing) -> Iterator[Run]:
    """One gateway, the same behind a proxy, and two behind it, all on `shared` and on the cores of this machine."""
    on_redis = replace(bench, settings=dict(bench.settings) | dict(shared))
    with ExitStack() as stack:
        one, other = (stack.enter_context(on_redis.gateway()) for _ in range(2))
        arrangements = {
            "one": one,
            "one behind HAProxy": stack.enter_context(_behind_proxy([one])),
            "two behind HAProxy": stack.enter_context(_behind_proxy([one, other])),
        }
        cases = (Case("mean, cached", Question(policy="mean"), repeat=True), Case("mean", Question(policy="mean")))
        for case in cases:
            for clients in BEHIND_PROXY:
                yield _arranged(bench, arrangements, case, clients, timing)


@contextmanager
def _behind_proxy(gateways: Sequence[Gateway]) -> Iterator[Gateway]:
    with running_proxy([gateway.port for gateway in gateways]) as (pid, port):
        yield Gateway(pid, port, 0.0, tuple(gateway.pid for gateway in gateways))


def _arranged(bench: Bench, arrangements: Mapping[str, Gateway], case: Case, clients: int, timing: Timing) -> Run:
    found: dict[str, Run] = {}
    for name, gateway in arrangements.items():
        requests = bench.requests(gateway, case.question, repeat=case.repeat)
        warm(gateway, requests)
        load = partial(closed_loop, requests=requests, concurrency=clients, timing=timing)
        tally, cost = under_load(gateway, load)
        found[name] = tally.summary() | cost
    per_s = [run["images_per_s"] for run in found.values()]
    return {
        "part": "gateways",
        "case": case.name,
        "concurrency": clients,
        "two_to_one": round(per_s[2] / max(per_s[1], 1e-9), 3),
        "arrangements": found,
    }
