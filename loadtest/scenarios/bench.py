"""What all scenarios share: the repository, the images, how to start a gateway and how to ask it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from loadtest import raw
from loadtest.connection import ConnectionLostError, Pool, Response
from loadtest.external import External
from loadtest.gateway import COMMAND, Gateway, GatewayError, Target, running_gateway
from loadtest.payload import ClassifyRequests, Question, Shape, get
from loadtest.tally import Tally

ANSWER_WITHIN_S = 120.0
"""For the first request, which has the label set encoded."""

Run = dict[str, Any]
Load = Callable[[Pool], Awaitable[Tally]]


@dataclass(frozen=True, slots=True)
class Bench:
    """`settings` are QUORUM_ variables that differ from the gateway's defaults; where an `external` gateway is asked
    none is started, and neither they nor the repository are used."""

    repository: Path
    jpegs: Sequence[bytes]
    settings: Mapping[str, str] = field(default_factory=dict)
    shape: Shape = "raw"
    command: tuple[str, ...] = COMMAND
    external: External | None = None

    def gateway(self) -> AbstractContextManager[Gateway]:
        return running_gateway(self.repository, self.settings, self.command)

    def target(self) -> AbstractContextManager[Target]:
        """The external gateway, as it stands; else a fresh one."""
        return self.gateway() if self.external is None else nullcontext(self.external)

    def requests(self, target: Target, question: Question, *, repeat: bool = False) -> ClassifyRequests:
        return ClassifyRequests(self.jpegs, question, target.address, self.shape, repeat=repeat, lines=target.lines)

    def single(self, backbone: str | None = None) -> Question:
        """`backbone` alone, or the alphabetically first one."""
        return Question(policy="single", backbones=(backbone or raw.backbones(self.repository)[0],))


def warm(target: Target, requests: ClassifyRequests) -> Response:
    """Ask once, so that the label matrix is known. Raises `GatewayError` with the answer when it is not a 200, or with
    why there is none."""

    async def ask() -> Response:
        pool = target.pool()
        try:
            return await pool.request(next(requests), ANSWER_WITHIN_S)
        finally:
            pool.close()

    try:
        answer = uvloop.run(ask())
    except TimeoutError as error:
        raise GatewayError(f"The first request got no answer within {ANSWER_WITHIN_S:.0f} s.") from error
    except (ConnectionLostError, OSError) as error:
        raise GatewayError(f"The first request got no answer: {str(error) or 'the connection was closed'}.") from error
    if answer.status != 200:
        said = answer.body.decode("utf-8", "replace")[:500]
        raise GatewayError(f"The first request was answered with {answer.status}: {said}")
    return answer


def under_load(target: Target, load: Load) -> tuple[Tally, Run]:
    """Apply `load` and say what it took: cores that gateway and generator kept busy, and the gateway's memory, as far
    as its processes can be seen."""

    async def apply() -> Tally:
        pool = target.pool()
        try:
            return await load(pool)
        finally:
            pool.close()

    before, own_before_s, started_s = target.usage(), _own_cpu_s(), time.perf_counter()
    tally = uvloop.run(apply())
    elapsed_s = time.perf_counter() - started_s
    after = target.usage()
    cost: Run = {"generator_busy_cores": round((_own_cpu_s() - own_before_s) / elapsed_s, 3)}
    if before is not None and after is not None:
        cost["gateway_busy_cores"] = round((after.cpu_s - before.cpu_s) / elapsed_s, 3)
        cost |= {"gateway_rss_mib": after.rss_mib, "gateway_peak_rss_mib": after.peak_rss_mib}
    return tally, cost


def gateway_info(bench: Bench) -> dict[str, Any]:
    """`GET /info` of the external gateway, else of one that is started for this alone (and leaves the repository in the
    page cache)."""
    if bench.external is not None:
        return dict(bench.external.fetch("/info"))

    async def ask(gateway: Gateway) -> Response:
        pool = gateway.pool()
        try:
            return await fetch(pool, "/info")
        finally:
            pool.close()

    with bench.gateway() as gateway:
        answer = uvloop.run(ask(gateway))
    return dict(json.loads(answer.body)) if answer.status == 200 else {}


async def fetch(pool: Pool, target: str) -> Response:
    return await pool.request(get(target, f"{pool.host}:{pool.port}"), ANSWER_WITHIN_S)


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system
