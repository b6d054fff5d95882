"""Into a gallery: look up what is unchanged, embed the rest by every backbone, store it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from service.deadline import Deadline
from service.errors import QuorumError
from service.galleries.base import FieldValue, GallerySpec, GalleryStore, Item, ItemAbout
from service.pipeline.embed import Embedded, Embedder, Image
from service.pipeline.retrieval.galleries import Ready, digest_of_text
from service.policies import ItemChange
from service.repository import Backbone
from service.timings import Timings

Content = Image | str | Ready


@dataclass(frozen=True, slots=True, eq=False)
class NewItem:
    """`fields` holds every field of the gallery."""

    id: str
    content: Content
    fields: Mapping[str, FieldValue]

    @property
    def about(self) -> ItemAbout:
        if isinstance(self.content, Image):
            return ItemAbout(self.id, "image", self.content.digest, self.fields)
        if isinstance(self.content, str):
            return ItemAbout(self.id, "text", digest_of_text(self.content), self.fields)
        return ItemAbout(self.id, self.content.modality, self.content.digest, self.fields)


@dataclass(frozen=True, slots=True)
class Added:
    """Per item, in order, what changed or why nothing did. `calls` counts the items that each backbone embedded."""

    outcomes: tuple[ItemChange | QuorumError, ...]
    calls: Mapping[str, int]
    gflops: float


@dataclass(frozen=True, slots=True)
class IngestQuery:
    """Items of distinct ids. `backbones` are the gallery's, in its order."""

    spec: GallerySpec
    backbones: tuple[Backbone, ...]
    items: tuple[NewItem | QuorumError, ...]
    deadline: Deadline


@dataclass(slots=True)
class _Work:
    """What is known so far, by the item's index."""

    outcomes: dict[int, ItemChange | QuorumError] = field(default_factory=dict)
    items: dict[int, Item] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    gflops: float = 0.0


class Ingester:
    def __init__(self, embedder: Embedder, store: GalleryStore) -> None:
        self._embedder = embedder
        self._store = store

    async def add(self, query: IngestQuery, timings: Timings) -> Added:
        """Add or replace items; when this returns, what is not an error is stored for good.

        An item that is there with the same content and fields is left alone and not embedded again. Raises what the
        store raises; then some of the items may be stored, and sending them again does no harm.
        """
        work = _Work({i: each for i, each in enumerate(query.items) if isinstance(each, QuorumError)})
        fresh = {i: each for i, each in enumerate(query.items) if isinstance(each, NewItem)}
        with timings.measure("gallery"):
            known = await self._store.look_up(query.spec, [item.id for item in fresh.values()], query.deadline)
        for index, item in list(fresh.items()):
            if known.get(item.id) == item.about:
                work.outcomes[index] = "unchanged"
                del fresh[index]
        await self._embed(fresh, query, work, timings)
        if work.items:  # else there is nothing to wait for behind other writers
            with timings.measure("gallery"):
                await self._store.upsert(query.spec, list(work.items.values()), query.deadline)
        for index, stored in work.items.items():
            work.outcomes[index] = "updated" if stored.about.id in known else "created"
        return Added(tuple(work.outcomes[i] for i in range(len(query.items))), dict(work.calls), work.gflops)

    async def _embed(self, fresh: Mapping[int, NewItem], query: IngestQuery, work: _Work, timings: Timings) -> None:
        images = {i: item.content for i, item in fresh.items() if isinstance(item.content, Image)}
        texts = {i: item.content for i, item in fresh.items() if isinstance(item.content, str)}
        seen, read = await asyncio.gather(
            self._embedder.embed_images(list(images.values()), query.backbones, query.deadline, timings),
            self._read(list(texts.values()), query),
        )
        costs = {backbone.name: backbone.gflops for backbone in query.backbones}
        for index, answers in zip(images, seen, strict=True):
            _settle(index, fresh[index], answers, costs, work)
        costs = {backbone.name: backbone.text.config.gflops for backbone in query.backbones}
        for index, answers in zip(texts, read, strict=True):
            _settle(index, fresh[index], answers, costs, work)
        for index, item in fresh.items():
            if isinstance(item.content, Ready):
                work.items[index] = Item(item.about, item.content.embedding)

    async def _read(self, texts: list[str], query: IngestQuery) -> list[dict[str, Embedded]]:
        if not texts:
            return []
        names = [backbone.name for backbone in query.backbones]
        asking = [self._embedder.ask_texts(texts, backbone.text, query.deadline) for backbone in query.backbones]
        columns = await asyncio.gather(*asking)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _settle(
    index: int,
    item: NewItem,
    answers: Mapping[str, Embedded] | QuorumError,
    costs: Mapping[str, float],
    work: _Work,
) -> None:
    """Half a committee's embedding is none: one backbone's failure is the item's."""
    if isinstance(answers, QuorumError):
        work.outcomes[index] = answers
        return
    parts = []
    for name, cost in costs.items():
        embedded = answers[name]
        if isinstance(embedded.outcome, QuorumError):
            work.outcomes[index] = embedded.outcome
            return
        if not embedded.cached:
            work.calls[name] += 1
            work.gflops += cost
        parts.append(embedded.outcome)
    work.items[index] = Item(item.about, np.concatenate(parts))


def distinct_ids(ids: Sequence[str]) -> str | None:
    """The first id that comes twice; None where all are distinct."""
    return next((name for name, count in Counter(ids).items() if count > 1), None)
