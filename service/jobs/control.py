"""What a job's work holds in its thread: how to tell how far it is, to hear that it should stop, to wait for others."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, Final, TypeVar

from service.deadline import Deadline
from service.errors import QuorumError
from service.stores.base import ArtefactContent

T = TypeVar("T")

NICENESS: Final = 5
"""A third of the processor time of a request's thread on the same core. With 10 it is a tenth, and then the event loop
waits noticeably for the interpreter lock whenever this thread holds it and is not given a core."""

LOWEST: Final = 19
LATE_S: Final = 60.0


class JobStopped(BaseException):
    """Raised in the work once nobody wants its result. Not an `Exception`, so that no handler in between keeps it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`result` is shown to callers and fits into JSON. Without an artefact nothing is activated."""

    result: Mapping[str, Any]
    artefact: ArtefactContent | None = None


class JobControl:
    """Made and stopped in the event loop's thread; progress and checks may come from any, waiting from the work's.

    `deadline` is when the job's time is over; `stopped` is done once the work should end, and then says why, or None
    where the store knows already.
    """

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.fraction = 0.0
        self._loop = asyncio.get_running_loop()
        self.stopped: asyncio.Future[QuorumError | None] = self._loop.create_future()
        self._stopping = False
        self._awaited: asyncio.Task[Any] | None = None

    def progress(self, fraction: float) -> None:
        """Say that `fraction` (0 to 1) of the work is done; less than before counts as before.

        Raises `JobStopped` when the work should end.
        """
        self.check()
        if not math.isfinite(fraction):
            raise ValueError(f"a job's progress is {fraction}")
        self.fraction = max(self.fraction, min(1.0, float(fraction)))

    def check(self) -> None:
        """Raise `JobStopped` when the work should end. To be called at least every second."""
        if self._stopping:
            raise JobStopped

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What `coroutine` gives; it runs in the event loop and is cancelled when the work should end.

        For the engine, the caches and the stores, which live there. Raises `JobStopped`, and whatever it raises.
        """
        given: Future[T] = Future()
        try:
            self._loop.call_soon_threadsafe(self._begin, coroutine, given)
            # `stop` comes at the deadline and ends this; the time limit is for an event loop that is gone.
            return given.result(self.deadline.remaining_s + LATE_S)
        except CancelledError:
            raise JobStopped from None
        except (RuntimeError, TimeoutError):
            if given.done():  # its own
                raise
            if getcoroutinestate(coroutine) == CORO_CREATED:
                coroutine.close()
            raise JobStopped from None

    def stop(self, reason: QuorumError | None) -> None:
        """Make the work end at its next look. The first reason stays."""
        self._stopping = True
        if self._awaited is not None:
            self._awaited.cancel()
        if not self.stopped.done():
            self.stopped.set_result(reason)

    def _begin(self, coroutine: Coroutine[Any, Any, T], given: Future[T]) -> None:
        if self._stopping:
            coroutine.close()
            given.cancel()
            return
        self._awaited = task = self._loop.create_task(coroutine, name="awaited by a job")
        task.add_done_callback(lambda task: _hand_over(task, given))


def _hand_over(task: asyncio.Task[T], given: Future[T]) -> None:
    if task.cancelled():
        given.cancel()
    elif (error := task.exception()) is not None:
        given.set_exception(error)
    else:
        given.set_result(task.result())


Work = Callable[[JobControl], Outcome]
"""What a job does, in a thread of its own. What it raises is the job's error: a `QuorumError` in its own words, and
anything else as an internal error that is logged. It holds its images in memory; none of them is ever stored."""

Ended = Outcome | BaseException


def in_thread(work: Work, control: JobControl) -> asyncio.Future[Ended]:
    """Run `work` in a daemon thread: one that cannot be stopped must not keep the process from ending."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Ended] = loop.create_future()

    def deliver(outcome: Ended) -> None:
        if not ended.done():
            ended.set_result(outcome)

    def run() -> None:
        outcome: Ended
        _step_back()
        try:
            outcome = work(control)
        except BaseException as error:  # whatever ends this thread ends the job, not in silence
            outcome = error
        with suppress(RuntimeError):  # the event loop is closed: the process ends, and nobody waits
            loop.call_soon_threadsafe(deliver, outcome)

    threading.Thread(target=run, name="job", daemon=True).start()
    return ended


def _step_back() -> None:
    """Let this thread get less of the processor than requests do, where threads have priorities of their own."""
    if sys.platform == "linux":
        here = os.getpriority(os.PRIO_PROCESS, 0)
        with suppress(OSError):  # a sandbox may forbid it; the work is done all the same
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(LOWEST, here + NICENESS))
