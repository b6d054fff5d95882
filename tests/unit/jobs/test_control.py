"""What a job's work can do in its thread."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import suppress

import pytest

from service.deadline import Deadline
from service.errors import InternalError
from service.jobs.control import LOWEST, NICENESS, JobControl, JobStopped, Outcome, in_thread
from tests.support.jobs import PATIENCE_S


@pytest.fixture
async def control() -> JobControl:
    return JobControl(Deadline.after(PATIENCE_S))


async def test_progress_goes_forward_only_and_stays_within_its_bounds(control: JobControl) -> None:
    seen = []
    for fraction in (-1.0, 0.25, 0.1, 0.5, 7):
        control.progress(fraction)
        seen.append(control.fraction)
    assert seen == [0.0, 0.25, 0.25, 0.5, 1.0]


@pytest.mark.parametrize("fraction", [float("nan"), float("inf")])
async def test_progress_that_is_no_number_is_a_bug(control: JobControl, fraction: float) -> None:
    with pytest.raises(ValueError, match="progress"):
        control.progress(fraction)


async def test_who_is_stopped_hears_it_at_the_next_look(control: JobControl) -> None:
    control.check()
    reason = InternalError("why")
    control.stop(reason)
    control.stop(None)
    assert control.stopped.result() is reason, "the first reason stays"
    for look in (control.check, lambda: control.progress(0.5)):
        with pytest.raises(JobStopped):
            look()
    assert control.fraction == 0.0


async def test_stopping_is_no_exception_that_a_handler_could_keep(control: JobControl) -> None:
    def work(control: JobControl) -> Outcome:
        try:
            control.check()
        except Exception:  # as careless code has it
            return Outcome({"kept": True})
        raise AssertionError("it was not stopped")

    control.stop(None)
    assert isinstance(await in_thread(work, control), JobStopped)


async def test_the_work_waits_for_what_runs_in_the_event_loop(control: JobControl) -> None:
    async def where() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    def work(control: JobControl) -> Outcome:
        return Outcome({"loop": control.wait_for(where()), "work": threading.current_thread().name})

    ended = await in_thread(work, control)
    assert isinstance(ended, Outcome)
    assert ended.result == {"loop": threading.current_thread().name, "work": "job"}


async def test_what_it_waits_for_may_fail(control: JobControl) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    def work(control: JobControl) -> Outcome:
        with pytest.raises(ZeroDivisionError):
            control.wait_for(broken())
        return Outcome({})

    assert isinstance(await in_thread(work, control), Outcome)


async def test_stopping_cancels_what_the_work_waits_for(control: JobControl) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    ended = in_thread(lambda control: control.wait_for(endless()) or Outcome({}), control)
    await began.wait()
    control.stop(None)
    assert isinstance(await ended, JobStopped)
    async with asyncio.timeout(PATIENCE_S):
        await cancelled.wait()


async def test_what_the_work_waits_for_may_tell_how_far_it_is_and_hears_of_stopping_too(control: JobControl) -> None:
    began, on = asyncio.Event(), asyncio.Event()

    async def embed() -> None:
        control.progress(0.25)
        began.set()
        with suppress(asyncio.CancelledError):
            await on.wait()
        control.progress(0.5)

    ended = in_thread(lambda control: control.wait_for(embed()) or Outcome({}), control)
    await began.wait()
    control.stop(None)
    assert isinstance(await ended, JobStopped)
    assert control.fraction == 0.25


async def test_a_timeout_in_what_it_waits_for_is_its_own(control: JobControl) -> None:
    async def late() -> None:
        raise TimeoutError("of the engine")

    error = await in_thread(lambda control: control.wait_for(late()) or Outcome({}), control)
    assert isinstance(error, TimeoutError)


async def test_who_is_stopped_begins_to_wait_for_nothing(control: JobControl) -> None:
    async def never() -> None:
        raise AssertionError("it ran")

    control.stop(None)
    assert isinstance(await in_thread(lambda control: control.wait_for(never()) or Outcome({}), control), JobStopped)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priorities of their own")
async def test_the_thread_steps_back_behind_those_that_serve(control: JobControl) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)

    def work(_: JobControl) -> Outcome:
        return Outcome({"niceness": os.getpriority(os.PRIO_PROCESS, threading.get_native_id())})

    ended = await in_thread(work, control)
    assert isinstance(ended, Outcome)
    assert ended.result == {"niceness": min(LOWEST, before + NICENESS)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(1), StopIteration(), MemoryError()])
async def test_whatever_ends_the_thread_is_delivered(control: JobControl, error: BaseException) -> None:
    def work(_: JobControl) -> Outcome:
        raise error

    assert await in_thread(work, control) is error


def test_who_waits_for_an_event_loop_that_is_gone_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> None:
        raise AssertionError("it ran")

    async def make() -> JobControl:
        return JobControl(Deadline.after(0.0))

    control = asyncio.run(make())
    with pytest.raises(JobStopped):
        control.wait_for(never())
    monkeypatch.setattr("service.jobs.control.LATE_S", 0.05)
    monkeypatch.setattr(control, "_loop", Mute())
    with pytest.raises(JobStopped):
        control.wait_for(never())


class Mute:
    """An event loop that takes calls and makes none, as one does that is being closed."""

    def call_soon_threadsafe(self, *_: object) -> None: ...


def test_a_thread_that_outlives_its_event_loop_ends_in_peace() -> None:
    gate, began, threads = threading.Event(), threading.Event(), []

    def work(_: JobControl) -> Outcome:
        threads.append(threading.current_thread())
        began.set()
        gate.wait(PATIENCE_S)
        return Outcome({})

    async def begin() -> None:
        in_thread(work, JobControl(Deadline.after(PATIENCE_S)))

    asyncio.run(begin())
    assert began.wait(PATIENCE_S)
    gate.set()
    threads[0].join(PATIENCE_S)  # an exception in it would fail the test
    assert not threads[0].is_alive()
