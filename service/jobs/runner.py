"""Runs jobs in the background: one at a time, in one thread, while the event loop goes on serving.

    submit -> queued -> running -> succeeded | failed | cancelled

The store decides every change of state, by compare-and-set, so that a job that was cancelled, superseded or whose label
set changed (here or by another process on the same state) activates nothing, however a race goes. What this class holds
beside it is the work itself, in memory: it ends with the process, and whoever looks next marks the job interrupted.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from service.deadline import Deadline
from service.errors import QuorumError, TooManyJobsError, UnavailableError
from service.jobs.control import JobControl, Work
from service.jobs.execution import Execution, JobLimits, internal_error
from service.liveness import ended
from service.policies import ArtefactKind, JobState
from service.stores.base import Job, JobStore, NewJob, StoredLabelSet
from service.stores.reasons import cancelled, interrupted

log = logging.getLogger(__name__)

SMOOTHING: Final = 0.3
"""Share of the newest job in the moving average of how long jobs run."""

TICK_S: Final = 0.1
"""A signal handler may move the end of the drain, and cannot wake whoever waits for it."""

CLOSE_LIMIT_S: Final = 3.0
"""For recording, after the drain, what was interrupted. Where it does not suffice, the next process does it."""

RETRY_AFTER_S: Final = 1.0
DEAD: Final = "Jobs are not run any more; the process has to be restarted."
STUCK: Final = "A job that was stopped does not end, and no other can run; the process has to be restarted."


class JobObserver(Protocol):
    def job_ended(self, kind: ArtefactKind, outcome: JobState, run_s: float | None) -> None:
        """`run_s` is None for a job that did not run here."""

    def jobs_changed(self, running: int, queued: int) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    job: Job
    work: Work


class JobRunner:
    """Used from the event loop alone, but for `drain`."""

    def __init__(self, store: JobStore, limits: JobLimits, observer: JobObserver) -> None:
        self._store = store
        self._limits = limits
        self._observer = observer
        self._waiting: deque[_Entry] = deque()
        self._arriving: dict[str, asyncio.Task[Job]] = {}
        self._running: tuple[_Entry, JobControl] | None = None
        self._began_s = 0.0
        self._wake = asyncio.Event()
        self._drain_ends: Deadline | None = None
        self._problem: str | None = None
        self._run_s = 0.0
        self._lasting: tuple[asyncio.Task[None], ...] = ()

    async def start(self) -> None:
        """Marks as interrupted what processes that are gone left unfinished, then takes jobs."""
        self._giving_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._sweep()
        self._worker = asyncio.create_task(self._work(), name="jobs")
        self._sweeper = asyncio.create_task(self._keep_sweeping(), name="sweep jobs")
        self._lasting = (self._worker, self._sweeper)

    async def submit(self, stored: StoredLabelSet, kind: ArtefactKind, work: Work, *, request_id: str) -> Job:
        """The queued job; unfinished ones of the same label set and kind are superseded by it.

        Raises `TooManyJobsError` when too many wait, `LabelSetChangedError` or `NotFoundError` when the label set is no
        longer `stored`, `UnavailableError` when the process is ending or cannot run jobs.
        """
        if self._problem or self._drain_ends:
            raise UnavailableError(
                self._problem or "The server is shutting down. Try again.", retry_after_s=RETRY_AFTER_S
            )
        new = NewJob(new_job_id(), kind, stored.name, stored.label_set.digest, request_id)
        self._check_room(new)
        # A caller that leaves now leaves a job that is queued and runs, never one that is stored and that nobody runs.
        task = asyncio.create_task(self._enqueue(new, work), name=f"create {new.id}")
        self._arriving[new.id] = task
        task.add_done_callback(lambda task: self._arrived(new.id, task))
        return await asyncio.shield(task)

    async def cancel(self, job_id: str) -> Job | None:
        """The job as it is afterwards: unchanged when it had finished before, None when there is none."""
        job = await self._store.cancel(job_id, cancelled(job_id))
        self._drop(lambda mine: mine.id == job_id)
        return job

    def problems(self) -> list[str]:
        """What is broken for good in this process, one sentence each."""
        if self._problem or self._drain_ends:
            return [self._problem] if self._problem else []
        return ended(*self._lasting)

    def running_s(self) -> float:
        """For how long the job at work has run, one that was stopped and does not end included; 0 with none."""
        return time.monotonic() - self._began_s if self._running else 0.0

    def drain(self, *, hurry: bool = False) -> None:
        """Begin no other job. The running one may go on for `drain_s`, counted from the first call, or `hurry`.

        May be called by a signal handler.
        """
        if hurry or self._drain_ends is None:
            self._drain_ends = Deadline.after(0 if hurry else self._limits.drain_s)

    async def close(self) -> None:
        """Drain, then mark what is left as interrupted.

        Waits for no thread that does not listen. A second call does nothing.
        """
        self.drain()
        self._wake.set()
        while not self._worker.done() and self._drain_ends and not self._drain_ends.passed:
            await asyncio.wait({self._worker}, timeout=min(TICK_S, self._drain_ends.remaining_s))
        if self._running:
            self._running[1].stop(interrupted())
        if not self._giving_up.done():
            self._giving_up.set_result(None)
        self._sweeper.cancel()
        tasks = {self._worker, self._sweeper, asyncio.create_task(self._interrupt_waiting())}
        _, late = await asyncio.wait(tasks, timeout=CLOSE_LIMIT_S)
        for task in late:
            log.error("an interrupted job could not be recorded in time")
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _interrupt_waiting(self) -> None:
        await asyncio.gather(*self._arriving.values(), return_exceptions=True)
        await self._fail_waiting(interrupted())

    def _check_room(self, new: NewJob) -> None:
        """Jobs hold their images until they have run, so few may wait. Those that `new` supersedes make room for it."""
        staying = [entry for entry in self._waiting if not _same_target(entry.job, new)]
        if len(staying) + len(self._arriving) >= self._limits.max_queued:
            raise TooManyJobsError(
                f"{len(staying) + len(self._arriving)} jobs wait to be run, which is the limit. Try again later.",
                retry_after_s=max(RETRY_AFTER_S, self._run_s),
            )

    async def _enqueue(self, new: NewJob, work: Work) -> Job:
        job = await self._store.create(new)
        self._drop(lambda mine: _same_target(mine, new) and mine.id < new.id)
        self._waiting.append(_Entry(job, work))
        self._changed()
        self._wake.set()
        return job

    def _arrived(self, job_id: str, task: asyncio.Task[Job]) -> None:
        del self._arriving[job_id]
        # Asking for the exception also marks it as seen: the caller may have left.
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, QuorumError):
            log.error("a job could not be created", exc_info=error)

    def _drop(self, gone: Callable[[Job], bool]) -> None:
        """Forget the work of jobs that the store has ended."""
        dropped = [entry for entry in self._waiting if gone(entry.job)]
        for entry in dropped:
            self._waiting.remove(entry)
            self._ended(entry, "cancelled", None)
        if self._running and gone(self._running[0].job):
            self._running[1].stop(None)

    async def _work(self) -> None:
        try:
            while (entry := await self._next()) is not None:
                await self._run(entry)
        except Exception:
            # Whatever ends this task must not leave jobs behind that wait forever, and turn health red.
            self._problem = DEAD
            log.exception("the runner of jobs died")
            if self._running:
                self._waiting.appendleft(self._running[0])
                self._running = None
            await self._fail_waiting(internal_error())

    async def _next(self) -> _Entry | None:
        while self._drain_ends is None:
            if self._waiting:
                return self._waiting.popleft()
            self._wake.clear()
            await self._wake.wait()
        return None

    async def _run(self, entry: _Entry) -> None:
        control = JobControl(Deadline.after(self._limits.timeout_s))
        self._running = (entry, control)
        self._began_s = time.monotonic()
        self._changed()
        execution = Execution(entry.job, control, self._store, self._limits, self._giving_up)
        try:
            state = await execution.run(entry.work)
        finally:
            control.stop(None)
        run_s = self.running_s()
        self._run_s += SMOOTHING * (run_s - self._run_s)
        self._ended(entry, state, run_s)
        await self._thread_ended(execution)
        self._running = None
        self._changed()

    async def _thread_ended(self, execution: Execution) -> None:
        if await execution.thread_ended(self._limits.grace_s):
            return
        self._problem = STUCK
        log.error("a stopped job does not end")
        await self._fail_waiting(UnavailableError(STUCK))
        await execution.thread_ended(None)
        self._problem = None

    async def _fail_waiting(self, error: QuorumError) -> None:
        while self._waiting:
            entry = self._waiting.popleft()
            try:
                job = await self._store.fail(entry.job.id, error)
            except Exception:  # the others are still to be told
                log.exception("a job's failure could not be recorded", extra={"job_id": entry.job.id})
            else:
                self._ended(entry, job.state if job else "cancelled", None)

    def _ended(self, entry: _Entry, state: JobState, run_s: float | None) -> None:
        job = entry.job
        names = {"job_id": job.id, "kind": job.kind, "request_id": job.request_id}
        log.info("job %s", state, extra={**names, "seconds": None if run_s is None else round(run_s, 3)})
        self._observer.job_ended(job.kind, state, run_s)
        self._changed()

    def _changed(self) -> None:
        self._observer.jobs_changed(int(self._running is not None), len(self._waiting))

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(self._limits.sweep_s)
            await self._sweep()

    async def _sweep(self) -> None:
        try:
            for job in await self._store.sweep():
                log.warning("job interrupted", extra={"job_id": job.id, "kind": job.kind})
                self._observer.job_ended(job.kind, job.state, None)
        except Exception:  # the next one may do better, and nobody else would see it
            log.exception("jobs of processes that are gone could not be looked for")


def new_job_id() -> str:
    """Sorts by time: microseconds in hexadecimal, then 64 random bits."""
    return f"job_{time.time_ns() // 1_000:013x}{secrets.token_hex(8)}"


def _same_target(one: Job | NewJob, other: Job | NewJob) -> bool:
    return (one.label_set, one.kind) == (other.label_set, other.kind)
