"""What every implementation of `EmbeddingCache` keeps: in memory, in Redis, and one before the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from service.stores.base import EmbeddingCache
from service.stores.memory import MemoryEmbeddingCache
from service.stores.redis.breaker import Breaker
from service.stores.redis.cache import RedisEmbeddingCache
from service.stores.redis.connection import connect
from service.stores.tiered import TieredEmbeddingCache
from tests.support.redis import RedisServer, redis_at

PATIENT_S = 30.0
EVICTING = ("--maxmemory-policy", "allkeys-lru")


class Unwatched:
    def shared_cache_dropped(self, count: int) -> None: ...

    def cache_tier_hit(self, tier: str, count: int) -> None: ...


@dataclass
class Made:
    cache: EmbeddingCache
    settled: Callable[[], Awaitable[None]]
    """Once everything that was put is there."""


async def at_once() -> None:
    pass


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_at(tmp_path_factory.mktemp("redis"), EVICTING) as server:
        yield server


def in_memory(max_bytes: int = 1_000_000) -> MemoryEmbeddingCache:
    return MemoryEmbeddingCache(max_bytes=max_bytes, ttl_s=60)


def in_redis(server: RedisServer) -> RedisEmbeddingCache:
    breaker = Breaker("cache", PATIENT_S, lambda: None)
    return RedisEmbeddingCache(connect(server.url, variable="URL"), breaker, Unwatched(), ttl_s=60, advice=None)


@pytest.fixture(params=["memory", "redis", "tiered", "tiered, nothing in memory"])
async def made(request: pytest.FixtureRequest) -> AsyncIterator[Made]:
    if request.param == "memory":
        made = Made(in_memory(), at_once)
    else:
        server: RedisServer = request.getfixturevalue("redis")
        server.say("FLUSHALL")
        far = in_redis(server)
        near = in_memory(0 if "nothing" in request.param else 1_000_000)
        made = Made(far if request.param == "redis" else TieredEmbeddingCache(near, far, Unwatched()), far.written)
    await made.cache.start()
    yield made
    await made.cache.close()


def rows(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


async def test_what_was_put_is_found_bit_by_bit_and_the_rest_left_out(made: Made) -> None:
    embeddings = dict(zip("abc", rows(3, 512), strict=True))
    await made.cache.put_many(embeddings)
    await made.settled()
    found = await made.cache.get_many(["c", "x", "a"])
    assert set(found) == {"a", "c"}
    for key, row in found.items():
        assert row.dtype == np.float32
        assert np.array_equal(row, embeddings[key])


async def test_of_nothing_there_is_nothing(made: Made) -> None:
    await made.cache.put_many({})
    await made.settled()
    assert await made.cache.get_many([]) == {}
    assert await made.cache.get_many(["a"]) == {}


async def test_a_key_that_is_asked_for_twice_is_found_once(made: Made) -> None:
    (row,) = rows(1, 4)
    await made.cache.put_many({"a": row})
    await made.settled()
    assert list(await made.cache.get_many(["a", "a", "b", "b"])) == ["a"]


async def test_rows_of_several_widths_lie_side_by_side(made: Made) -> None:
    embeddings = {str(width): rows(1, width)[0] for width in (1, 20, 768, 4096)}
    await made.cache.put_many(embeddings)
    await made.settled()
    found = await made.cache.get_many(list(embeddings))
    assert {key: row.shape for key, row in found.items()} == {key: row.shape for key, row in embeddings.items()}


async def test_what_was_put_later_counts(made: Made) -> None:
    old, new = rows(2, 8)
    await made.cache.put_many({"a": old})
    await made.cache.put_many({"a": new})
    await made.settled()
    assert np.array_equal((await made.cache.get_many(["a"]))["a"], new)


async def test_a_row_that_its_caller_changes_afterwards_is_kept_as_it_was(made: Made) -> None:
    batch = rows(2, 8)
    before = batch.copy()
    await made.cache.put_many({"a": batch[0], "b": batch[1]})
    batch[:] = 0
    await made.settled()
    assert np.array_equal((await made.cache.get_many(["a"]))["a"], before[0])


async def test_thousands_of_rows_go_in_and_come_out(made: Made) -> None:
    embeddings = {f"key-{index}": row for index, row in enumerate(rows(2_000, 16))}
    await made.cache.put_many(embeddings)
    await made.settled()
    found = await made.cache.get_many(list(embeddings))
    assert len(found) > 1_900, "memory may have let go of some"
    assert all(np.array_equal(row, embeddings[key]) for key, row in found.items())
