"""Deadlines: waits that end in time, and that are ended by whoever cancels them."""

from __future__ import annotations

import asyncio

import pytest

from service.deadline import Deadline
from service.errors import DeadlineExceededError


async def test_what_comes_in_time_is_given() -> None:
    assert await Deadline.after(5).wait_for(asyncio.sleep(0, "answer"), "sleeping") == "answer"


async def test_what_takes_longer_is_ended_and_told() -> None:
    ended = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(DeadlineExceededError, match="while sleeping"):
        await Deadline.after(0.01).wait_for(slow(), "sleeping")
    assert ended.is_set()


async def test_nothing_is_begun_after_the_deadline() -> None:
    begun: list[str] = []

    async def write() -> None:
        begun.append("written")

    with pytest.raises(DeadlineExceededError):
        await Deadline.after(0).wait_for(write(), "writing")
    assert begun == []


async def test_what_is_there_already_is_given_even_then() -> None:
    done = asyncio.get_running_loop().create_future()
    done.set_result("answer")
    assert await Deadline.after(0).wait_for(done, "waiting") == "answer"


async def test_a_cancellation_is_not_forgotten_when_the_wait_ends_in_the_same_moment() -> None:
    answer = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(Deadline.after(5).wait_for(answer, "waiting"))
    await asyncio.sleep(0)
    answer.set_result("answer")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
