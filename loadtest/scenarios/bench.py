"""What all scenarios share: the repository, the images, how to start a gateway and how to ask it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from loadtest import raw
from loadtest.connection import Pool, Response
from loadtest.gateway import COMMAND, Gateway, GatewayError, running_gateway
from loadtest.payload import ClassifyRequests, Question, Shape, get
from loadtest.tally import Tally

ANSWER_WITHIN_S = 120.0
"""For the first request, which has the label set encoded."""

Run = dict[str, Any]
Load = Callable[[Pool], Awaitable[Tally]]


@dataclass(frozen=True, slots=True)
class Bench:
    """`settings` are QUORUM_ variables that differ from the gateway's defaults."""

    repository: Path
    jpegs: Sequence[bytes]
    settings: Mapping[str, str] = field(default_factory=dict)
    shape: Shape = "raw"
    command: tuple[str, ...] = COMMAND

    def gateway(self) -> AbstractContextManager[Gateway]:
        return running_gateway(self.repository, self.settings, self.command)

    def requests(self, gateway: Gateway, question: Question, *, repeat: bool = False) -> ClassifyRequests:
        return ClassifyRequests(self.jpegs, question, gateway.address, self.shape, repeat=repeat)

    def single(self, backbone: str | None = None) -> Question:
        """`backbone` alone, or the alphabetically first one."""
        return Question(policy="single", backbones=(backbone or raw.backbones(self.repository)[0],))


def warm(gateway: Gateway, requests: ClassifyRequests) -> Response:
    """Ask once, so that the label matrix is known. Raises `GatewayError` with the answer when it is not a 200."""

    async def ask() -> Response:
        pool = Pool(*_host_and_port(gateway))
        try:
            return await pool.request(next(requests), ANSWER_WITHIN_S)
        finally:
            pool.close()

    answer = uvloop.run(ask())
    if answer.status != 200:
        raise GatewayError(f"The first request was answered with {answer.status}: {answer.body.decode()[:500]}")
    return answer


def under_load(gateway: Gateway, load: Load) -> tuple[Tally, Run]:
    """Apply `load` and say what it took: cores that gateway and generator kept busy, and the gateway's memory."""

    async def apply() -> Tally:
        pool = Pool(*_host_and_port(gateway))
        try:
            return await load(pool)
        finally:
            pool.close()

    before, own_before_s, started_s = gateway.usage(), _own_cpu_s(), time.perf_counter()
    tally = uvloop.run(apply())
    elapsed_s = time.perf_counter() - started_s
    after = gateway.usage()
    cost = {
        "gateway_busy_cores": round((after.cpu_s - before.cpu_s) / elapsed_s, 3),
        "generator_busy_cores": round((_own_cpu_s() - own_before_s) / elapsed_s, 3),
        "gateway_rss_mib": after.rss_mib,
        "gateway_peak_rss_mib": after.peak_rss_mib,
    }
    return tally, cost


def gateway_info(bench: Bench) -> dict[str, Any]:
    """`GET /info` of a gateway that is started for this alone (and leaves the repository in the page cache)."""

    async def ask(gateway: Gateway) -> Response:
        pool = Pool(*_host_and_port(gateway))
        try:
            return await fetch(pool, "/info")
        finally:
            pool.close()

    with bench.gateway() as gateway:
        answer = uvloop.run(ask(gateway))
    return dict(json.loads(answer.body)) if answer.status == 200 else {}


async def fetch(pool: Pool, target: str) -> Response:
    return await pool.request(get(target, f"{pool.host}:{pool.port}"), ANSWER_WITHIN_S)


def _host_and_port(gateway: Gateway) -> tuple[str, int]:
    host, _, port = gateway.address.partition(":")
    return host, int(port)


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system
