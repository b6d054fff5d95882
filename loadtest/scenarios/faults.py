"""What callers see when Triton fails under a gateway, and how long after its return they are answered again.

Clients ask without pause, each waiting for its answer; what they got is laid beside the moments at which the server was
hurt and was well again.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import uvloop

from loadtest import raw
from loadtest.connection import ConnectionLostError, Pool
from loadtest.gateway import HOST, Gateway
from loadtest.payload import ClassifyRequests, Question
from loadtest.scenarios.bench import Bench, Run, warm
from loadtest.servers import RunningTriton, TritonPorts, running_triton

CLIENTS = 4
TIMEOUT_S = 30.0
PAUSE_S = 0.02
"""Between an answer and the next question, so that refusals do not come by the thousand."""

RECOVERY_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class FaultsPlan:
    """`calm_s` before each fault; `trouble_s` for which it lasts."""

    calm_s: float
    trouble_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: no answer within `TIMEOUT_S`, or none at all. `whole`: every backbone had a say."""

    sent_s: float
    done_s: float
    status: int
    whole: bool


@dataclass(slots=True)
class Seen:
    answers: list[Answer] = field(default_factory=list)

    def after(self, moment_s: float, *, whole: bool) -> float | None:
        """Seconds from `moment_s` to the first answer asked for since that is whole, or is not."""
        done = [each.done_s for each in self.answers if each.sent_s >= moment_s and each.whole == whole]
        return round(min(done) - moment_s, 3) if done else None


def describe(fault: str, seen: Seen, hurt_s: float, mended_s: float) -> Run:
    """Times in seconds. An answer counts for the trouble if it came, or should have come, within it."""
    within = [each for each in seen.answers if each.done_s >= hurt_s and each.sent_s < mended_s]
    statuses = sorted({each.status for each in within})
    told = [each.done_s for each in within if not each.whole]
    return {
        "fault": fault,
        "told_after_s": round(min(told) - hurt_s, 3) if told else None,
        "longest_wait_s": round(max(each.done_s - each.sent_s for each in within), 3) if within else None,
        "answers": {str(status): sum(each.status == status for each in within) for status in statuses},
        "degraded": sum(each.status == 200 and not each.whole for each in within),
        "well_after_s": seen.after(mended_s, whole=True),
    }


@dataclass(frozen=True, slots=True)
class Fault:
    """Both get the server and the name of one image tower; `mend` returns when the server is well."""

    name: str
    hurt: Callable[[RunningTriton, str], None]
    mend: Callable[[RunningTriton, str], None]


FAULTS = (
    Fault("server killed, started again", lambda triton, _: triton.kill(), lambda triton, _: triton.start()),
    Fault(
        "server ended (the port refuses), started again",
        lambda triton, _: triton.stop(),
        lambda triton, _: triton.start(),
    ),
    Fault("server stalled, going on", lambda triton, _: triton.pause(), lambda triton, _: triton.resume()),
    Fault("one tower unloaded, loaded again", RunningTriton.unload, RunningTriton.load),
    Fault(
        "one tower's instances killed, server started again",
        RunningTriton.kill_instances,
        lambda triton, _: triton.start(),
    ),
)


def faults(bench: Bench, plan: FaultsPlan, suffered: Sequence[Fault] | None = None) -> Iterator[Run]:
    """Each fault on a server and a gateway of its own; the gateway is never restarted."""
    victim = raw.by_size(bench.repository)[0] + raw.IMAGE_SUFFIX
    for fault in suffered or FAULTS:
        ports = TritonPorts.free()
        on_triton = replace(bench, settings=dict(bench.settings) | ports.settings)
        with running_triton(bench.repository, ports) as triton, on_triton.gateway() as gateway:
            requests = bench.requests(gateway, Question(policy="mean"))
            warm(gateway, requests)
            seen, hurt_s, mended_s = uvloop.run(_suffer(gateway, requests, plan, triton, fault, victim))
        yield describe(fault.name, seen, hurt_s, mended_s) | {"load_average": round(os.getloadavg()[0], 2)}


async def _suffer(
    gateway: Gateway, requests: ClassifyRequests, plan: FaultsPlan, triton: RunningTriton, fault: Fault, victim: str
) -> tuple[Seen, float, float]:
    """What clients saw, and when the server was hurt and well again."""
    seen, enough, pool = Seen(), asyncio.Event(), Pool(HOST, gateway.port)
    clients = [asyncio.create_task(_ask(pool, requests, seen, enough)) for _ in range(CLIENTS)]
    try:
        await asyncio.sleep(plan.calm_s)
        hurt_s = time.perf_counter()
        await asyncio.to_thread(fault.hurt, triton, victim)
        await asyncio.sleep(plan.trouble_s)
        await asyncio.to_thread(fault.mend, triton, victim)
        mended_s = time.perf_counter()
        while seen.after(mended_s, whole=True) is None and time.perf_counter() < mended_s + RECOVERY_LIMIT_S:
            await asyncio.sleep(PAUSE_S)
    finally:
        enough.set()
        await asyncio.gather(*clients)
        pool.close()
    return seen, hurt_s, mended_s


async def _ask(pool: Pool, requests: ClassifyRequests, seen: Seen, enough: asyncio.Event) -> None:
    while not enough.is_set():
        sent_s = time.perf_counter()
        try:
            response = await pool.request(next(requests), TIMEOUT_S)
        except (TimeoutError, ConnectionLostError, OSError):
            seen.answers.append(Answer(sent_s, time.perf_counter(), 0, whole=False))
        else:
            whole = response.status == 200 and not json.loads(response.body)["results"][0].get("degraded")
            seen.answers.append(Answer(sent_s, time.perf_counter(), response.status, whole=whole))
        await asyncio.sleep(PAUSE_S)
