"""Works that wait to be told, and a runner around them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol

from service.errors import UnavailableError
from service.jobs.control import JobControl, JobStopped, Outcome
from service.jobs.execution import JobLimits
from service.jobs.runner import JobRunner
from service.stores.base import Job, JobStore

PATIENCE_S = 60.0
"""How long a test waits for what has to come; none waits for time to pass."""
LIMITS = JobLimits(
    max_queued=2, timeout_s=PATIENCE_S, drain_s=PATIENCE_S, poll_s=0.01, grace_s=PATIENCE_S, retry_s=0.01
)
FINAL = {"succeeded", "failed", "cancelled"}


class Gated:
    """A work that stands at its gate until that is opened or the job is stopped; a deaf one cannot be stopped."""

    def __init__(self, outcome: Outcome | None = None, *, deaf: bool = False) -> None:
        self.began, self.gate, self.left = threading.Event(), threading.Event(), threading.Event()
        self.stopped = False
        self.report: float | None = None
        self._outcome = outcome or Outcome({})
        self._deaf = deaf

    def __call__(self, control: JobControl) -> Outcome:
        self.began.set()
        try:
            while not self.gate.wait(0.005):
                if not self._deaf:
                    control.check() if self.report is None else control.progress(self.report)
            return self._outcome
        except JobStopped:
            self.stopped = True
            raise
        finally:
            self.left.set()

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.began.wait, PATIENCE_S)

    async def has_left(self) -> None:
        assert await asyncio.to_thread(self.left.wait, PATIENCE_S)


class HoldsJobs(Protocol):
    @property
    def jobs(self) -> JobStore: ...


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.005)


async def final(state: HoldsJobs, job: Job) -> Job:
    """The job once it is over."""
    ended: list[Job] = []

    async def over() -> bool:
        found = await state.jobs.get(job.id)
        assert found is not None
        ended[:] = [found]
        return found.state in FINAL

    await until(over)
    return ended[0]


class JobObservations:
    def __init__(self) -> None:
        self.ended: list[tuple[str, str, bool]] = []
        self.running = 0
        self.queued = 0

    def job_ended(self, kind: str, outcome: str, run_s: float | None) -> None:
        assert run_s is None or run_s >= 0
        self.ended.append((kind, outcome, run_s is not None))

    def jobs_changed(self, running: int, queued: int) -> None:
        self.running, self.queued = running, queued


class FaultyJobs:
    """A store of jobs whose calls named in `faults` raise what stands there, once per entry."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self.faults: dict[str, list[Exception]] = {}

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        async def faulty(*arguments: Any, **named: Any) -> Any:
            if self.faults.get(name):
                raise self.faults[name].pop(0)
            return await call(*arguments, **named)

        return faulty


def unreachable() -> UnavailableError:
    return UnavailableError("The state cannot be reached.", retry_after_s=1.0)


@asynccontextmanager
async def running(store: JobStore, observations: JobObservations, **limits: float) -> AsyncIterator[JobRunner]:
    """A runner that was started; at the end it is closed without waiting for what still runs."""
    runner = JobRunner(store, replace(LIMITS, **limits), observations)  # type: ignore[arg-type]  # max_queued is whole
    await runner.start()
    try:
        yield runner
    finally:
        runner.drain(hurry=True)
        await runner.close()
