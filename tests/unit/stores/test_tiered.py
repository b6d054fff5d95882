"""Memory first, then Redis, and what only Redis knew is in memory afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from service.stores.memory import MemoryEmbeddingCache
from service.stores.tiered import TieredEmbeddingCache

ROW = np.arange(4, dtype=np.float32)


class Far(MemoryEmbeddingCache):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(max_bytes=1_000_000, ttl_s=60)
        self.asked: list[list[str]] = []
        self.running = 0

    async def start(self) -> None:
        self.running += 1

    async def close(self) -> None:
        self.running -= 1

    async def get_many(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        self.asked.append(list(keys))
        return await super().get_many(keys)

    async def put_many(self, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
        await super().put_many(embeddings)


class Hits:
    def __init__(self) -> None:
        self.by_tier: Counter[str] = Counter()

    def cache_tier_hit(self, tier: str, count: int) -> None:
        self.by_tier[tier] += count


def tiers() -> tuple[TieredEmbeddingCache, Far, Hits]:
    far, hits = Far(), Hits()
    return TieredEmbeddingCache(MemoryEmbeddingCache(max_bytes=1_000_000, ttl_s=60), far, hits), far, hits


async def test_what_memory_knows_is_not_asked_for_elsewhere() -> None:
    cache, far, hits = tiers()
    await cache.put_many({"a": ROW})
    assert set(await cache.get_many(["a"])) == {"a"}
    assert far.asked == []
    assert hits.by_tier == {"process": 1}


async def test_only_what_memory_misses_is_asked_for_and_then_kept_in_it() -> None:
    cache, far, hits = tiers()
    await cache.put_many({"a": ROW})
    await far.put_many({"b": ROW + 1})
    for _ in range(2):
        found = await cache.get_many(["a", "b", "c", "c"])
        assert np.array_equal(found["b"], ROW + 1)
        assert set(found) == {"a", "b"}
    assert far.asked == [["b", "c"], ["c"]]
    assert hits.by_tier == {"process": 1 + 2, "redis": 1}


async def test_what_is_put_is_in_both() -> None:
    cache, far, _ = tiers()
    await cache.put_many({"a": ROW})
    assert set(await far.get_many(["a"])) == {"a"}


async def test_both_are_started_and_ended() -> None:
    cache, far, _ = tiers()
    await cache.start()
    assert far.running == 1
    await cache.close()
    assert far.running == 0
