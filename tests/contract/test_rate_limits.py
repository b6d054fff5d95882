"""What every implementation of `RateLimits` keeps, the process's own and the one in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import pytest

from service.stores.base import RateLimits
from service.stores.limits import MemoryRateLimits
from service.stores.redis.breaker import Breaker
from service.stores.redis.connection import connect
from service.stores.redis.limits import RedisRateLimits
from tests.support.redis import RedisServer, redis_at

PATIENT_S = 30.0
"""A loaded machine must not turn a test of the limits into one of the way around Redis."""


class NeverAsked:
    async def take(self, bucket: str, amount: int, per_minute: int) -> float:
        raise AssertionError(f"Redis is there, and {bucket} was judged without it ({amount}, {per_minute})")

    async def close(self) -> None: ...


class Make(Protocol):
    def __call__(self) -> RateLimits: ...


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_at(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def limits(request: pytest.FixtureRequest) -> AsyncIterator[RateLimits]:
    if request.param == "memory":
        made: RateLimits = MemoryRateLimits()
    else:
        server: RedisServer = request.getfixturevalue("redis")
        server.say("FLUSHALL")
        made = RedisRateLimits(
            connect(server.url, variable="URL"), Breaker("limits", PATIENT_S, lambda: None), NeverAsked()
        )
    yield made
    await made.close()


async def test_a_full_bucket_holds_a_minutes_worth(limits: RateLimits) -> None:
    waits = [await limits.take("a", 1, 5) for _ in range(6)]
    assert waits[:5] == [0.0] * 5
    assert 6.0 < waits[5] <= 12.0


async def test_what_is_refused_takes_nothing(limits: RateLimits) -> None:
    await limits.take("a", 5, 5)
    waits = [await limits.take("a", 1, 5) for _ in range(5)]
    assert 0 < waits[-1] <= waits[0] <= 12.0


async def test_buckets_do_not_know_of_each_other(limits: RateLimits) -> None:
    assert await limits.take("a", 5, 5) == 0.0
    assert await limits.take("b", 5, 5) == 0.0
    assert await limits.take("a", 1, 5) > 0


async def test_it_fills_up_evenly(limits: RateLimits) -> None:
    per_minute = 60
    assert await limits.take("a", per_minute, per_minute) == 0.0
    wait_s = await limits.take("a", 1, per_minute)
    assert 0 < wait_s <= 1.0
    await asyncio.sleep(wait_s + 0.01)
    assert await limits.take("a", 1, per_minute) == 0.0


async def test_who_takes_more_than_there_is_is_let_in_and_waited_for(limits: RateLimits) -> None:
    assert await limits.take("a", 4, 5) == 0.0
    assert await limits.take("a", 11, 5) == 0.0
    assert 120.0 < await limits.take("a", 1, 5) <= 132.0, "ten too many, and the one that is asked for"


async def test_a_limit_that_was_changed_counts_from_the_next_call_on(limits: RateLimits) -> None:
    assert await limits.take("a", 30, 60) == 0.0
    assert await limits.take("a", 1, 1) > 0
    assert await limits.take("a", 200, 600) == 0.0


@pytest.mark.parametrize("per_minute", [1, 7, 600, 10**9])
async def test_the_last_one_of_a_minute_is_let_in(limits: RateLimits, per_minute: int) -> None:
    assert await limits.take("a", per_minute - 1, per_minute) == 0.0
    assert await limits.take("a", 1, per_minute) == 0.0


async def test_of_many_at_once_no_more_are_let_in_than_there_are(limits: RateLimits) -> None:
    waits = await asyncio.gather(*[limits.take("a", 1, 10) for _ in range(40)])
    assert waits.count(0.0) == 10


async def test_gateways_on_one_redis_share_a_bucket(redis: RedisServer) -> None:
    redis.say("FLUSHALL")
    urls = (redis.url, redis.socket_url)
    gateways = [
        RedisRateLimits(connect(url, variable="URL"), Breaker("limits", PATIENT_S, lambda: None), NeverAsked())
        for url in urls
    ]
    waits = await asyncio.gather(*[gateway.take("a", 1, 10) for gateway in gateways for _ in range(20)])
    assert waits.count(0.0) == 10
    for gateway in gateways:
        await gateway.close()
