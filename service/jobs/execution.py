"""One job while it runs: from its start in the store to its final state there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from service.errors import InternalError, JobTimeoutError, QuorumError, UnavailableError
from service.jobs.control import Ended, JobControl, Outcome, Work, in_thread
from service.policies import JobState
from service.stores.base import Job, JobStore

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JobLimits:
    """How many jobs may wait, and how long anything about a job may take.

    `drain_s`: for the running one after the process was told to end. `poll_s`: how often a running job's progress is
    stored and its state looked at. `grace_s`: how long a work that should stop may take before it counts as stuck.
    `retry_s`: between two tries to reach the store. `sweep_s`: between two looks for jobs of processes that are gone.
    """

    max_queued: int
    timeout_s: float
    drain_s: float
    poll_s: float = 1.0
    grace_s: float = 30.0
    retry_s: float = 1.0
    sweep_s: float = 10.0


class Execution:
    """`giving_up` is done once the process cannot wait any longer, for the store or for the work."""

    def __init__(
        self, job: Job, control: JobControl, store: JobStore, limits: JobLimits, giving_up: asyncio.Future[None]
    ) -> None:
        self._job = job
        self._control = control
        self._store = store
        self._limits = limits
        self._giving_up = giving_up
        self._ended: asyncio.Future[Ended] | None = None

    async def run(self, work: Work) -> JobState:
        """Do `work` in a thread and record how it ended; gives the state that the job then has."""
        if await self._persist(lambda: self._store.start(self._job.id)) is None:
            return "cancelled"  # or superseded, or its label set changed: in any case while it waited
        self._ended = in_thread(work, self._control)
        return await self._record(await self._watch(self._ended))

    async def thread_ended(self, timeout_s: float | None) -> bool:
        """Wait until the thread is gone or the process gives up; False when neither happened in time."""
        if self._ended is None:
            return True
        return await _first_of(self._ended, self._giving_up, timeout_s=timeout_s)

    async def _watch(self, ended: asyncio.Future[Ended]) -> Outcome | QuorumError | None:
        """What the work gave or why it was stopped; None where the store knows why already."""
        control, deadline = self._control, self._control.deadline
        while True:
            timeout_s = min(self._limits.poll_s, deadline.remaining_s)
            await _first_of(ended, control.stopped, timeout_s=timeout_s)
            if control.stopped.done():
                return control.stopped.result()
            if ended.done():
                return self._ending(ended.result())
            if deadline.passed:
                control.stop(_too_long(self._limits.timeout_s))
            elif not await self._still_wanted():
                control.stop(None)

    async def _still_wanted(self) -> bool:
        try:
            return await self._store.progress(self._job.id, self._control.fraction)
        except UnavailableError:  # logged by the store; the work need not suffer from it
            return True

    def _ending(self, ended: Ended) -> Outcome | QuorumError:
        if isinstance(ended, Outcome | QuorumError):
            return ended
        log.error("a job failed", exc_info=ended, extra=self._names())
        return internal_error()

    async def _record(self, ending: Outcome | QuorumError | None) -> JobState:
        if isinstance(ending, Outcome):
            ending_or_job = await self._finish(ending)
            if not isinstance(ending_or_job, QuorumError):
                return ending_or_job.state if ending_or_job else "cancelled"
            ending = ending_or_job
        if ending is None:
            return "cancelled"
        error = ending
        job = await self._persist(lambda: self._store.fail(self._job.id, error))
        return job.state if job else "cancelled"

    async def _finish(self, outcome: Outcome) -> Job | QuorumError | None:
        try:
            return await self._persist(lambda: self._store.finish(self._job.id, outcome.result, outcome.artefact))
        except UnavailableError:
            raise
        except QuorumError as error:
            return error
        except Exception:  # it cannot be stored as it is: a bug in the work, which must not take the runner with it
            log.exception("a job's result cannot be stored", extra=self._names())
            return internal_error()

    async def _persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """What `write` gives, tried again while the store cannot be reached, until the process gives up."""
        while True:
            try:
                return await write()
            except UnavailableError:
                if self._giving_up.done():
                    raise
                await asyncio.wait({self._giving_up}, timeout=self._limits.retry_s)

    def _names(self) -> dict[str, str]:
        return {"job_id": self._job.id, "kind": self._job.kind, "request_id": self._job.request_id}


async def _first_of(*futures: asyncio.Future[Any], timeout_s: float | None) -> bool:
    """Whether one of them is done in time."""
    done, _ = await asyncio.wait(futures, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


def internal_error() -> InternalError:
    return InternalError("The job failed on our side; it was logged under its id and this request_id.")


def _too_long(timeout_s: float) -> JobTimeoutError:
    return JobTimeoutError(
        f"The job took longer than {timeout_s:g} s and was stopped. Nothing was activated. Send fewer images, or raise "
        "QUORUM_JOB_TIMEOUT_S."
    )
