"""Turns: first come, first served, and nothing is lost when somebody leaves."""

from __future__ import annotations

import asyncio

import pytest

from service.engines.triton.budget import RowBudget


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_large_batch_is_not_overtaken() -> None:
    budget, order = RowBudget(4), list[str]()

    async def take(name: str, rows: int) -> None:
        await budget.acquire(rows)
        order.append(name)

    await take("first", 3)
    waiting = [asyncio.create_task(take("large", 4)), asyncio.create_task(take("small", 1))]
    await settle()
    assert order == ["first"], "there would be room for the small one"
    budget.release(3)
    await settle()
    assert order == ["first", "large"]
    budget.release(4)
    await asyncio.gather(*waiting)
    assert order == ["first", "large", "small"]


async def test_who_leaves_the_queue_lets_the_next_one_pass() -> None:
    budget = RowBudget(4)
    await budget.acquire(2)
    large, small = asyncio.create_task(budget.acquire(4)), asyncio.create_task(budget.acquire(2))
    await settle()
    assert not small.done()
    large.cancel()
    await settle()
    assert small.done()


async def test_rows_granted_to_somebody_who_leaves_in_that_moment_are_given_back() -> None:
    budget = RowBudget(2)
    await budget.acquire(2)
    waiting = asyncio.create_task(budget.acquire(2))
    await settle()
    budget.release(2)  # grants, and before the task runs again ...
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(1):
        await budget.acquire(2)


async def test_rows_given_back_while_everybody_leaves_are_not_lost() -> None:
    budget = RowBudget(2)
    await budget.acquire(2)
    waiting = [asyncio.create_task(budget.acquire(2)) for _ in range(3)]
    await settle()
    for task in waiting:
        task.cancel()
    budget.release(2)  # before any of them has run again
    assert all(
        isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*waiting, return_exceptions=True)
    )
    async with asyncio.timeout(1):
        await budget.acquire(2)


async def test_who_stays_has_a_turn_although_those_before_leave_in_that_moment() -> None:
    budget = RowBudget(2)
    await budget.acquire(2)
    leaving, staying = asyncio.create_task(budget.acquire(2)), asyncio.create_task(budget.acquire(1))
    await settle()
    leaving.cancel()
    budget.release(2)
    async with asyncio.timeout(1):
        await staying
