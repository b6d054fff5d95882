"""Galleries in memory and exactly searched: what the pipeline is tested on, and stores are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from service.deadline import Deadline
from service.errors import QuorumError
from service.galleries.base import (
    Floats,
    Found,
    GallerySpec,
    GalleryStatus,
    IndexInfo,
    Item,
    ItemAbout,
    VectorField,
)
from service.pipeline.retrieval.galleries import member_of
from service.policies import FieldType, Metric
from service.repository import Zoo
from service.stores.base import Page


def spec_of(
    zoo: Zoo,
    prefix: Sequence[str] = ("small",),
    fields: dict[str, FieldType] | None = None,
    metric: Metric = "cosine",
    name: str = "pictures",
) -> GallerySpec:
    members = tuple(member_of(backbone) for backbone in zoo.backbones)
    return GallerySpec(name, members, tuple(prefix), metric, fields or {}, datetime(2026, 1, 2, tzinfo=UTC))


def unit_item(spec: GallerySpec, name: str, seed: int, fields: dict[str, str] | None = None) -> Item:
    """An image's item of random unit parts."""
    generator = np.random.default_rng(seed)
    parts = [generator.standard_normal(member.width) for member in spec.members]
    embedding = np.concatenate([part / np.linalg.norm(part) for part in parts]).astype(np.float32)
    about = ItemAbout(name, "image", f"{seed:064x}", dict.fromkeys(spec.fields) | (fields or {}))
    return Item(about, embedding)


class MemoryGalleries:
    """Knows no filters. `fault` is raised by every search beginning with the `fault_at`-th, counted from 1."""

    def __init__(self) -> None:
        self.specs: dict[str, GallerySpec] = {}
        self.contents: dict[str, dict[str, Item]] = {}
        self.searches: list[tuple[VectorField, int, int]] = []
        self.fault: QuorumError | None = None
        self.fault_at = 1

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def create(self, spec: GallerySpec, deadline: Deadline) -> GallerySpec:
        deadline.check("creating a gallery")
        self.contents.setdefault(spec.name, {})
        return self.specs.setdefault(spec.name, spec)

    async def get(self, name: str, deadline: Deadline) -> GallerySpec | None:
        deadline.check("reading a gallery")
        return self.specs.get(name)

    async def list(self, *, after: str | None, limit: int, deadline: Deadline) -> Page[GallerySpec]:
        deadline.check("listing galleries")
        names = sorted(name for name in self.specs if after is None or name > after)
        return Page(tuple(self.specs[name] for name in names[:limit]), len(names) > limit)

    async def drop(self, name: str, deadline: Deadline) -> bool:
        deadline.check("deleting a gallery")
        self.contents.pop(name, None)
        return self.specs.pop(name, None) is not None

    async def status(self, spec: GallerySpec, deadline: Deadline) -> GalleryStatus:
        deadline.check("reading a gallery")
        return GalleryStatus(len(self.contents[spec.name]), "ready", IndexInfo("FLAT", {}, exact=True))

    async def upsert(self, spec: GallerySpec, items: Sequence[Item], deadline: Deadline) -> None:
        deadline.check("writing items")
        self.contents.setdefault(spec.name, {}).update({item.about.id: item for item in items})

    async def fetch(self, spec: GallerySpec, ids: Sequence[str], deadline: Deadline) -> dict[str, Item]:
        deadline.check("reading items")
        contents = self.contents.get(spec.name, {})
        return {name: contents[name] for name in ids if name in contents}

    async def look_up(self, spec: GallerySpec, ids: Sequence[str], deadline: Deadline) -> dict[str, ItemAbout]:
        return {name: item.about for name, item in (await self.fetch(spec, ids, deadline)).items()}

    async def delete(
        self, spec: GallerySpec, deadline: Deadline, *, ids: Sequence[str] | None = None, where: str | None = None
    ) -> int:
        assert where is None
        found = await self.fetch(spec, ids or (), deadline)
        for name in found:
            del self.contents[spec.name][name]
        return len(found)

    async def items(
        self, spec: GallerySpec, *, after: str | None, limit: int, where: str | None, deadline: Deadline
    ) -> Page[ItemAbout]:
        assert where is None
        deadline.check("listing items")
        contents = self.contents[spec.name]
        names = sorted(name for name in contents if after is None or name > after)
        return Page(tuple(contents[name].about for name in names[:limit]), len(names) > limit)

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
        assert where is None
        deadline.check("searching")
        self.searches.append((field, len(queries), limit))
        if self.fault is not None and len(self.searches) >= self.fault_at:
            raise self.fault
        contents = self.contents.get(spec.name, {})
        return [self._nearest(spec, field, query, list(contents.values()), embeddings)[:limit] for query in queries]

    def _nearest(
        self, spec: GallerySpec, field: VectorField, query: Floats, items: Sequence[Item], embeddings: bool
    ) -> Sequence[Found]:
        names = [member.name for member in spec.members if field == "committee" or member.name in spec.prefix]
        found = [
            Found(
                item.about,
                float(np.concatenate([item.embedding[spec.parts[name]] for name in names]) @ query),
                item.embedding if embeddings else None,
            )
            for item in items
        ]
        return sorted(found, key=lambda each: (-each.score, each.about.id))
