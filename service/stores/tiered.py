"""Two embedding caches, one before the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.stores.base import EmbeddingCache


class TierObserver(Protocol):
    def cache_tier_hit(self, tier: str, count: int) -> None: ...


class TieredEmbeddingCache:
    """`near` is asked first; what only `far` knows is put into `near`, where its time begins anew."""

    def __init__(self, near: EmbeddingCache, far: EmbeddingCache, observer: TierObserver) -> None:
        self._near = near
        self._far = far
        self._observer = observer

    async def start(self) -> None:
        await self._near.start()
        await self._far.start()

    def problems(self) -> list[str]:
        return [*self._near.problems(), *self._far.problems()]

    async def close(self) -> None:
        await self._near.close()
        await self._far.close()

    async def get_many(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        found = await self._near.get_many(keys)
        self._observer.cache_tier_hit("process", len(found))
        # A picture or a text may be there twice in one request.
        missing = list(dict.fromkeys(key for key in keys if key not in found))
        if not missing:
            return found
        further = await self._far.get_many(missing)
        self._observer.cache_tier_hit("redis", len(further))
        await self._near.put_many(further)
        return found | further

    async def put_many(self, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
        await self._near.put_many(embeddings)
        await self._far.put_many(embeddings)
