"""Threads and tasks that tell when they are broken."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar

import pytest

from service import liveness
from service.liveness import WatchedThreads, ended

WORD: ContextVar[str] = ContextVar("word", default="none")


async def test_a_task_that_ends_is_named() -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    async def broken() -> None:
        raise ZeroDivisionError

    well, ill = asyncio.create_task(for_ever(), name="well"), asyncio.create_task(broken(), name="ill")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ended(well, ill, None) == ['The task "ill" ended; the process has to be restarted.']
    well.cancel()
    await asyncio.gather(well, ill, return_exceptions=True)
    assert len(ended(well, ill)) == 2


def test_a_thread_that_is_stuck_is_told_until_it_goes_on() -> None:
    gate = threading.Event()
    with WatchedThreads(1, "decode", stuck_after_s=0.05) as threads:
        assert threads.problems() == []
        done = threads.submit(gate.wait, 10)
        try:
            time.sleep(0.2)
            (problem,) = threads.problems()
        finally:
            gate.set()
        done.result(10)
        assert "A thread of decode has been stuck" in problem
        assert threads.problems() == []


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_is_raised_ends_no_thread(error: type[BaseException]) -> None:
    def raising() -> None:
        raise error("why")

    with WatchedThreads(1, "decode") as threads:
        with pytest.raises(error, match="why"):
            threads.submit(raising).result(10)
        assert threads.submit(int, "5").result(10) == 5
        assert threads.problems() == []


def test_threads_that_were_shut_down_cannot_be_used_any_more() -> None:
    threads = WatchedThreads(1, "decode")
    threads.shutdown()
    assert "ended" in threads.problems()[0]


def test_a_thread_that_is_stuck_holds_up_no_shutdown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(liveness, "CLOSE_LIMIT_S", 0.1)
    gate, threads = threading.Event(), WatchedThreads(1, "decode")
    stuck, waiting = threads.submit(gate.wait, 10), threads.submit(int, "5")
    try:
        began_s = time.monotonic()
        threads.shutdown(cancel_futures=True)
        assert time.monotonic() - began_s < 5
        assert waiting.cancelled()
        assert "a thread of decode does not end" in caplog.text
        assert threads.left_behind
    finally:
        gate.set()
    assert stuck.result(10) is True


def test_a_thread_knows_the_context_of_whoever_asked() -> None:
    with WatchedThreads(1, "decode") as threads:
        before = WORD.set("mine")
        asked = threads.submit(WORD.get)
        WORD.reset(before)
        assert asked.result(10) == "mine"
        assert threads.submit(WORD.get).result(10) == "none"
