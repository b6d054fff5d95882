"""No galleries: a gateway that was told to keep none, and says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from service.deadline import Deadline
from service.errors import UnavailableError
from service.galleries.base import (
    Floats,
    Found,
    GallerySpec,
    GalleryStatus,
    Item,
    ItemAbout,
    VectorField,
)
from service.stores.base import Page


class NoGalleries:
    """Every call but `start` and `close` raises `UnavailableError`, naming the setting."""

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def create(self, spec: GallerySpec, deadline: Deadline) -> GallerySpec:
        _refuse(spec, deadline)

    async def get(self, name: str, deadline: Deadline) -> GallerySpec | None:
        _refuse(name, deadline)

    async def list(self, *, after: str | None, limit: int, deadline: Deadline) -> Page[GallerySpec]:
        _refuse(after, limit, deadline)

    async def drop(self, name: str, deadline: Deadline) -> bool:
        _refuse(name, deadline)

    async def status(self, spec: GallerySpec, deadline: Deadline) -> GalleryStatus:
        _refuse(spec, deadline)

    async def upsert(self, spec: GallerySpec, items: Sequence[Item], deadline: Deadline) -> None:
        _refuse(spec, items, deadline)

    async def fetch(self, spec: GallerySpec, ids: Sequence[str], deadline: Deadline) -> dict[str, Item]:
        _refuse(spec, ids, deadline)

    async def look_up(self, spec: GallerySpec, ids: Sequence[str], deadline: Deadline) -> dict[str, ItemAbout]:
        _refuse(spec, ids, deadline)

    async def delete(
        self, spec: GallerySpec, deadline: Deadline, *, ids: Sequence[str] | None = None, where: str | None = None
    ) -> int:
        _refuse(spec, deadline, ids, where)

    async def items(
        self, spec: GallerySpec, *, after: str | None, limit: int, where: str | None, deadline: Deadline
    ) -> Page[ItemAbout]:
        _refuse(spec, after, limit, where, deadline)

    async def search(
        self,
        spec: GallerySpec,
        field: VectorField,
        queries: Floats,
        *,
        limit: int,
        where: str | None,
        embeddings: bool,
        deadline: Deadline,
    ) -> Sequence[Sequence[Found]]:
        _refuse(spec, field, queries, limit, where, embeddings, deadline)


def _refuse(*_: object) -> NoReturn:
    raise UnavailableError("This server keeps no galleries: QUORUM_GALLERIES_URL is off.")
