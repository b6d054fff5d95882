"""The embedding cache of one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from cachetools import TTLCache
from numpy.typing import NDArray

OVERHEAD_BYTES: Final = 400
"""Key string, array header and cache entry, beside the numbers themselves."""


class MemoryEmbeddingCache:
    """Least recently used entries leave when `max_bytes` are reached, every entry after `ttl_s` seconds.

    Used from the event loop alone, so it needs no lock.
    """

    def __init__(self, *, max_bytes: int, ttl_s: float) -> None:
        self._cache: TTLCache[str, NDArray[np.float32]] = TTLCache(max_bytes, ttl_s, getsizeof=_size)

    async def start(self) -> None:
        pass

    def problems(self) -> list[str]:
        return []

    async def close(self) -> None:
        pass

    async def get_many(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        found = {key: self._cache.get(key) for key in keys}
        return {key: embedding for key, embedding in found.items() if embedding is not None}

    async def put_many(self, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
        for key, embedding in embeddings.items():
            if _size(embedding) <= self._cache.maxsize:
                # A row of a batch is a view; a copy keeps the whole batch from living as long as its last row.
                self._cache[key] = embedding.copy()


def _size(embedding: NDArray[np.float32]) -> int:
    return embedding.nbytes + OVERHEAD_BYTES
