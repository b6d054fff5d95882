"""The seams to what outlives a request: label sets (state), embeddings (a cache, whose loss is slow, never wrong)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.pipeline.labels import LabelSet


@dataclass(frozen=True, slots=True)
class StoredLabelSet:
    name: str
    label_set: LabelSet
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing in order of name."""

    items: tuple[StoredLabelSet, ...]
    has_more: bool


class LabelSetStore(Protocol):
    """What `put` returned from is there after `kill -9`."""

    async def start(self) -> None: ...

    async def put(self, name: str, label_set: LabelSet) -> StoredLabelSet:
        """Create or replace; `created_at` stays when replacing."""

    async def get(self, name: str) -> StoredLabelSet | None: ...

    async def delete(self, name: str) -> bool:
        """False when there was none."""

    async def list(self, *, after: str | None, limit: int) -> Page:
        """Names strictly after `after`, ascending."""

    async def close(self) -> None: ...


class EmbeddingCache(Protocol):
    async def get_many(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """What is known of `keys`; missing ones are left out."""

    async def put_many(self, embeddings: Mapping[str, NDArray[np.float32]]) -> None: ...
