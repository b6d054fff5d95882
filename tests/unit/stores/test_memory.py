from __future__ import annotations

import numpy as np
import pytest

from service.stores.memory import OVERHEAD_BYTES, MemoryEmbeddingCache


def embedding(value: float) -> np.ndarray:
    return np.full(100, value, dtype=np.float32)


ENTRY_BYTES = 400 + OVERHEAD_BYTES


async def test_what_was_put_is_found_and_the_rest_left_out() -> None:
    cache = MemoryEmbeddingCache(max_bytes=10 * ENTRY_BYTES, ttl_s=60)
    await cache.put_many({"a": embedding(1), "b": embedding(2)})
    found = await cache.get_many(["a", "x"])
    assert list(found) == ["a"]
    assert np.array_equal(found["a"], embedding(1))


async def test_the_least_recently_used_entry_leaves_first() -> None:
    cache = MemoryEmbeddingCache(max_bytes=2 * ENTRY_BYTES, ttl_s=60)
    await cache.put_many({"a": embedding(1), "b": embedding(2)})
    await cache.get_many(["a"])
    await cache.put_many({"c": embedding(3)})
    assert set(await cache.get_many(["a", "b", "c"])) == {"a", "c"}


async def test_entries_leave_after_their_time() -> None:
    cache = MemoryEmbeddingCache(max_bytes=10 * ENTRY_BYTES, ttl_s=0.0)
    await cache.put_many({"a": embedding(1)})
    assert await cache.get_many(["a"]) == {}


@pytest.mark.parametrize("max_bytes", [0, ENTRY_BYTES - 1])
async def test_an_entry_larger_than_the_cache_is_not_kept(max_bytes: int) -> None:
    cache = MemoryEmbeddingCache(max_bytes=max_bytes, ttl_s=60)
    await cache.put_many({"a": embedding(1)})
    assert await cache.get_many(["a"]) == {}


async def test_a_kept_row_does_not_keep_its_batch_alive() -> None:
    cache = MemoryEmbeddingCache(max_bytes=10 * ENTRY_BYTES, ttl_s=60)
    batch = np.ones((1000, 100), dtype=np.float32)
    await cache.put_many({"a": batch[0]})
    assert (await cache.get_many(["a"]))["a"].base is None
