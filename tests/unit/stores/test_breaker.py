"""Who can do without Redis does so, for a moment, and says it once."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from service.stores.redis.breaker import PAUSE_S, Breaker


class Server:
    """Something to ask, with a clock: it answers, fails or hangs."""

    def __init__(self) -> None:
        self.asked = 0
        self.failures = 0
        self.now_s = 50.0
        self.mood: str = "well"
        self.breaker = Breaker("embedding cache", 0.05, self._count, clock=lambda: self.now_s)

    def _count(self) -> None:
        self.failures += 1

    async def ask(self) -> str | None:
        return await self.breaker.ask(self._answer)

    async def _answer(self) -> str:
        self.asked += 1
        if self.mood == "hangs":
            await asyncio.sleep(30)
        if self.mood == "refuses":
            raise RedisConnectionError("Error 111 connecting to redis:6379.")
        return "answer"


@pytest.mark.parametrize("mood", ["refuses", "hangs"])
async def test_after_a_failure_nobody_asks_for_a_moment(mood: str) -> None:
    server = Server()
    server.mood = mood
    for _ in range(20):
        assert await server.ask() is None
    assert (server.asked, server.failures) == (1, 1)
    left_alone = [server.breaker.is_open]
    server.now_s += PAUSE_S
    left_alone.append(server.breaker.is_open)
    assert left_alone == [True, False]
    await server.ask()
    assert server.asked == 2


async def test_it_is_asked_again_once_it_is_back() -> None:
    server = Server()
    server.mood = "refuses"
    await server.ask()
    server.mood = "well"
    assert await server.ask() is None
    server.now_s += PAUSE_S
    assert [await server.ask() for _ in range(3)] == ["answer"] * 3
    assert not server.breaker.is_open


async def test_while_one_tries_whether_it_is_back_the_others_do_not_wait() -> None:
    server = Server()
    server.mood = "hangs"
    await server.ask()
    server.now_s += PAUSE_S
    answers = await asyncio.gather(*[server.ask() for _ in range(10)])
    assert answers == [None] * 10
    assert server.asked == 2


async def test_an_outage_is_one_line_in_the_log_and_one_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    with caplog.at_level(logging.INFO):
        for mood in ("well", "refuses", "hangs", "refuses", "well", "well"):
            server.mood = mood
            await server.ask()
            server.now_s += PAUSE_S
    assert [(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records] == [
        ("WARNING", "embedding cache"),
        ("INFO", "embedding cache"),
    ]
    assert server.failures == 3


async def test_an_answer_to_what_was_asked_before_an_outage_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    may_answer = asyncio.Event()

    async def answer() -> str:
        await may_answer.wait()
        return "answer"

    server = Server()
    with caplog.at_level(logging.INFO):
        before = asyncio.create_task(server.breaker.ask(answer))
        await asyncio.sleep(0)
        server.mood = "refuses"
        await server.ask()
        may_answer.set()
        assert await before == "answer"
    assert server.breaker.is_open
    assert len(caplog.records) == 1


async def test_who_waits_leaves_in_time_and_the_call_goes_on() -> None:
    """So that a connection which is slow to be made is there for the next caller."""
    may_answer, answered = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        await may_answer.wait()
        answered.set()
        return "answer"

    server = Server()
    assert await server.breaker.ask(slow) is None
    may_answer.set()
    await asyncio.wait_for(answered.wait(), 5.0)
    await server.breaker.close()


async def test_an_answer_that_lay_there_while_the_loop_was_held_up_is_not_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.stores.redis.breaker.GRACE_S", 20.0)

    async def answer() -> str:
        await asyncio.sleep(0.01)
        for _ in range(5):  # as reading and parsing take several turns of the loop
            await asyncio.sleep(0)
        return "answer"

    server = Server()
    asyncio.get_running_loop().call_soon(time.sleep, 0.2)
    assert await server.breaker.ask(answer) == "answer"


async def test_what_still_runs_ends_with_it() -> None:
    server = Server()
    server.mood = "hangs"
    await server.ask()
    await asyncio.wait_for(server.breaker.close(), 5.0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_is_no_outage_is_not_taken_for_one() -> None:
    async def broken() -> None:
        raise KeyError("a bug")

    server = Server()
    with pytest.raises(KeyError):
        await server.breaker.ask(broken)
    assert not server.breaker.is_open
    assert server.failures == 0
