"""A lock that many share or one has alone."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from service.galleries.milvus.locks import SharedLock


class Visitors:
    """Writes down who came and went."""

    def __init__(self) -> None:
        self.lock = SharedLock()
        self.log: list[str] = []

    def visit(self, name: str, *, alone: bool) -> asyncio.Task[None]:
        entry: AbstractAsyncContextManager[None] = self.lock.alone() if alone else self.lock.shared()

        async def stay() -> None:
            async with entry:
                self.log.append(f"{name} in")
                await asyncio.sleep(0.01)
                self.log.append(f"{name} out")

        return asyncio.ensure_future(stay())


async def test_those_who_share_are_in_together() -> None:
    visitors = Visitors()
    await asyncio.gather(visitors.visit("a", alone=False), visitors.visit("b", alone=False))
    assert visitors.log == ["a in", "b in", "a out", "b out"]


async def test_who_is_alone_is_alone_and_comes_in_turn() -> None:
    visitors = Visitors()
    await asyncio.gather(
        visitors.visit("a", alone=False),
        visitors.visit("b", alone=True),
        visitors.visit("c", alone=False),
        visitors.visit("d", alone=False),
        visitors.visit("e", alone=True),
    )
    assert visitors.log == ["a in", "a out", "b in", "b out", "c in", "d in", "c out", "d out", "e in", "e out"]


@pytest.mark.parametrize("alone", [True, False])
async def test_who_gives_up_waiting_holds_nobody_up(alone: bool) -> None:
    visitors = Visitors()
    first = visitors.visit("a", alone=True)
    quitter = visitors.visit("b", alone=alone)
    last = visitors.visit("c", alone=not alone)
    await asyncio.sleep(0)
    quitter.cancel()
    await asyncio.wait_for(asyncio.gather(first, last), 1.0)
    assert quitter.cancelled()
    assert visitors.log == ["a in", "a out", "c in", "c out"]


async def test_who_leaves_in_the_moment_of_being_let_in_is_out() -> None:
    lock = SharedLock()

    async def stay() -> None:
        async with lock.alone():
            await asyncio.sleep(60.0)

    async with lock.shared():
        waiting = asyncio.ensure_future(stay())
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(1.0), lock.alone():
        pass


async def test_who_gives_up_in_the_moment_of_a_release_was_simply_cancelled() -> None:
    lock = SharedLock()

    async def read() -> None:
        async with lock.shared():
            pass

    async with lock.alone():
        waiting = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(1.0), lock.alone():
        pass


async def test_an_error_inside_lets_the_next_one_in() -> None:
    lock = SharedLock()
    with pytest.raises(ValueError, match="inside"):
        async with lock.alone():
            raise ValueError("inside")
    async with asyncio.timeout(1.0), lock.shared():
        pass
