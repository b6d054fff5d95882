"""Worker threads of one tower, with batches formed from what waits.

A free worker takes its share of what waits, up to the largest batch, at once: on a CPU a batch gains little, so an idle
session never waits for one. Under load batches grow by themselves, since rows arrive while the workers are busy. It is
a share and not everything: a worker that took all would hold its last row back while the other one idles.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.deadline import Deadline, deadline_error
from service.engines.base import EngineObserver, Outcome, Row
from service.errors import BackboneFailedError, QuorumError, UnavailableError
from service.trail import log_fields

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
STALLED_AFTER_S = 60.0
"""No batch of a tower that belongs into an online service takes a minute: the worker is stuck."""
CLOSE_LIMIT_S = 3.0
"""For the batches at work when the threads are stopped, which nobody waits for any more. A stuck one must not keep the
rest of the process from being closed until it is killed."""

RunBatch = Callable[[NDArray[np.generic]], NDArray[np.float32]]


@dataclass(slots=True, eq=False)
class _Job:
    row: Row
    deadline: Deadline
    future: asyncio.Future[Outcome]
    loop: asyncio.AbstractEventLoop
    queued_at_s: float = field(default_factory=time.monotonic)
    abandoned: bool = False
    """Set when the caller gave up, so that no session works for nobody."""
    request_id: str | None = field(default_factory=lambda: log_fields().get("request_id"))


class TowerWorkers:
    """`count` threads that call `run_batch` on stacked rows and answer each row's future."""

    def __init__(
        self, tower: str, run_batch: RunBatch, *, count: int, max_batch: int, observer: EngineObserver
    ) -> None:
        self._tower = tower
        self._run_batch = run_batch
        self._max_batch = max_batch
        self._observer = observer
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._dead: str | None = None
        self._busy_since_s: dict[int, float] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"{tower}-{index}", args=(index,), daemon=True)
            for index in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    async def embed(self, rows: Sequence[Row], deadline: Deadline) -> list[Outcome]:
        """One outcome per row; rows that are not done when the deadline passes carry a deadline error."""
        loop = asyncio.get_running_loop()
        jobs = [_Job(row, deadline, loop.create_future(), loop) for row in rows]
        self._submit(jobs)
        try:
            await asyncio.wait([job.future for job in jobs], timeout=deadline.remaining_s)
        finally:
            for job in jobs:
                job.abandoned = True
        late = deadline_error(f"waiting for {self._tower}")
        return [job.future.result() if job.future.done() else late for job in jobs]

    def problem(self) -> str | None:
        """Why this tower cannot answer any more, or None."""
        if self._dead is not None:
            return self._dead
        if not self._closing and any(thread.ident is not None and not thread.is_alive() for thread in self._threads):
            return _died(self._tower)  # without a word, which nothing in `_work` should let happen
        now_s = time.monotonic()
        if any(now_s - since_s > STALLED_AFTER_S for since_s in list(self._busy_since_s.values())):
            return f"A worker of {self._tower} has been stuck for more than {STALLED_AFTER_S:.0f} s."
        return None

    def close(self) -> None:
        """Stop the threads after their current batch; whoever waits is failed. One that is stuck is left behind."""
        with self._wake:
            self._closing = True
            self._fail_waiting(UnavailableError("The server is shutting down.", retry_after_s=RETRY_AFTER_S))
            self._wake.notify_all()
        ends = Deadline.after(CLOSE_LIMIT_S)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=ends.remaining_s)
        if any(thread.is_alive() for thread in self._threads):
            log.warning("a worker of %s does not end, and is left behind", self._tower)

    def _submit(self, jobs: list[_Job]) -> None:
        with self._wake:
            self._jobs.extend(jobs)
            if self._dead is not None or self._closing:
                self._fail_waiting(self._gone())
            else:
                self._wake.notify(len(jobs))

    def _gone(self) -> QuorumError:
        return UnavailableError(self._dead or "The server is shutting down.", retry_after_s=RETRY_AFTER_S)

    def _work(self, index: int) -> None:
        batch: list[_Job] = []
        try:
            while batch := self._next_batch():
                self._busy_since_s[index] = time.monotonic()
                _deliver(batch, self._outcomes(batch))
                self._busy_since_s.pop(index, None)
        except BaseException:
            # Not Exception: whatever ends this thread must fail its waiters and turn health red, not hang callers.
            log.exception("a worker of %s died", self._tower, extra=_whose(batch))
            self._die(batch)

    def _next_batch(self) -> list[_Job]:
        """The waiting jobs that are still wanted, empty when closing."""
        with self._wake:
            while True:
                self._wake.wait_for(lambda: self._jobs or self._closing)
                if self._closing:
                    return []
                batch = self._take()
                if batch:
                    return batch

    def _take(self) -> list[_Job]:
        batch: list[_Job] = []
        share = min(self._max_batch, math.ceil(len(self._jobs) / len(self._threads)))
        while self._jobs and len(batch) < share:
            job = self._jobs.popleft()
            if not (job.abandoned or job.deadline.passed):
                batch.append(job)
        return batch

    def _outcomes(self, batch: list[_Job]) -> list[Outcome]:
        started_s = time.monotonic()
        for job in batch:
            self._observer.row_waited(self._tower, started_s - job.queued_at_s)
        outcomes = self._run(batch)
        self._observer.batch_done(self._tower, len(batch), time.monotonic() - started_s)
        return outcomes

    def _run(self, batch: list[_Job]) -> list[Outcome]:
        try:
            embeddings = self._run_batch(np.stack([job.row for job in batch]))
        except Exception:
            # An execution provider raises its own types; all of them mean that this backbone gave no answer.
            log.exception("%s failed on a batch of %d", self._tower, len(batch), extra=_whose(batch))
            # One row may be to blame: alone, the others are answered.
            return [self._failed()] if len(batch) == 1 else [outcome for job in batch for outcome in self._run([job])]
        return [row if bool(np.isfinite(row).all()) else self._failed() for row in embeddings]

    def _failed(self) -> QuorumError:
        return BackboneFailedError(f"{self._tower} failed on this input.", retry_after_s=RETRY_AFTER_S)

    def _die(self, batch: list[_Job]) -> None:
        with self._wake:
            self._dead = _died(self._tower)
            self._fail_waiting(self._gone())
            self._wake.notify_all()
        _deliver(batch, [self._gone()] * len(batch))

    def _fail_waiting(self, error: QuorumError) -> None:
        """Caller holds the lock."""
        waiting = list(self._jobs)
        self._jobs.clear()
        _deliver(waiting, [error] * len(waiting))


def _died(tower: str) -> str:
    return f"A worker of {tower} died; the process has to be restarted."


def _whose(batch: Sequence[_Job]) -> dict[str, object]:
    """For the log: a batch may hold rows of several requests."""
    ids = sorted({job.request_id for job in batch if job.request_id is not None})
    return {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": ids} if ids else {}


def _deliver(batch: list[_Job], outcomes: Sequence[Outcome]) -> None:
    """Hand outcomes to the event loops that wait for them, one wake-up per loop instead of one per row."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Outcome]]] = {}
    for job, outcome in zip(batch, outcomes, strict=True):
        by_loop.setdefault(job.loop, []).append((job, outcome))
    for loop, answers in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_set_results, answers)


def _set_results(answers: list[tuple[_Job, Outcome]]) -> None:
    for job, outcome in answers:
        if not job.future.done():
            job.future.set_result(outcome)
