"""The seam to where galleries are kept: what one is, what it holds, and what its store promises.

A gallery keeps, per item, the embeddings of all its backbones side by side (`committee`), and those of a few cheap ones
a second time by themselves (`prefix`), so that the first stage of a cascade searches less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from service.deadline import Deadline
from service.policies import FieldType, GalleryState, Metric, Modality
from service.stores.base import Page

Floats = NDArray[np.float32]

FieldValue = str | int | float | bool | None
VectorField = Literal["committee", "prefix"]


@dataclass(frozen=True, slots=True)
class GalleryMember:
    """A backbone as a gallery knows it: all that its items' embeddings depend on."""

    name: str
    width: int
    image: str
    text: str
    geometry: str


@dataclass(frozen=True, slots=True)
class GallerySpec:
    """What a gallery was created as; none of it changes afterwards.

    `members` are in the zoo's order, and so are the parts of an item's embedding. `prefix` names some of them. `fields`
    are the columns that items may fill and filters may name.
    """

    name: str
    members: tuple[GalleryMember, ...]
    prefix: tuple[str, ...]
    metric: Metric
    fields: Mapping[str, FieldType]
    created_at: datetime

    @property
    def width(self) -> int:
        return sum(member.width for member in self.members)

    @property
    def parts(self) -> dict[str, slice]:
        """Where each backbone's part is in an item's embedding."""
        ends = np.cumsum([member.width for member in self.members]).tolist()
        return {member.name: slice(end - member.width, end) for member, end in zip(self.members, ends, strict=True)}


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """How one vector field is searched. `exact`: as if every item were compared."""

    type: str
    params: Mapping[str, int]
    exact: bool


@dataclass(frozen=True, slots=True)
class GalleryStatus:
    """`items` are acknowledged and not deleted, 0 unless `state` is `ready`. `index` is of the field `committee`."""

    items: int
    state: GalleryState
    index: IndexInfo


@dataclass(frozen=True, slots=True)
class ItemAbout:
    """An item without its embedding. `digest` is the sha256 (hex) of what it was made from; `fields` holds every field
    of its gallery, None where the item has no value."""

    id: str
    modality: Modality
    digest: str
    fields: Mapping[str, FieldValue]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """`embedding` is `float32[width]`: the gallery's backbones side by side, in its order."""

    about: ItemAbout
    embedding: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """An item that a search found. `score` is the inner product; `embedding` is there if it was asked for."""

    about: ItemAbout
    score: float
    embedding: Floats | None


class GalleryStore(Protocol):
    """Every call answers by its deadline or raises `DeadlineExceededError`, or `UnavailableError` where the store is
    away or a gallery is still being loaded.

    What a write returned from is there after `kill -9`, and every later search sees it. `where` is a condition that
    `filters.compile_filter` made.
    """

    async def start(self) -> None:
        """Raises `ConfigurationError` when the store cannot be used as configured. Galleries load in the background."""

    async def close(self) -> None: ...

    async def create(self, spec: GallerySpec, deadline: Deadline) -> GallerySpec:
        """The gallery of that name as it is afterwards: `spec`, or what was there before, untouched."""

    async def get(self, name: str, deadline: Deadline) -> GallerySpec | None: ...

    async def list(self, *, after: str | None, limit: int, deadline: Deadline) -> Page[GallerySpec]:
        """Names strictly after `after`, ascending."""

    async def drop(self, name: str, deadline: Deadline) -> bool:
        """False when there was none."""

    async def status(self, spec: GallerySpec, deadline: Deadline) -> GalleryStatus: ...

    async def upsert(self, spec: GallerySpec, items: Sequence[Item], deadline: Deadline) -> None:
        """Items of new ids are added, those of known ids replaced as a whole. Ids are distinct."""

    async def fetch(self, spec: GallerySpec, ids: Sequence[str], deadline: Deadline) -> dict[str, Item]:
        """By id, with embeddings; unknown ids are left out."""

    async def look_up(self, spec: GallerySpec, ids: Sequence[str], deadline: Deadline) -> dict[str, ItemAbout]:
        """As `fetch`, without embeddings."""

    async def delete(
        self, spec: GallerySpec, deadline: Deadline, *, ids: Sequence[str] | None = None, where: str | None = None
    ) -> int:
        """By exactly one of `ids` and `where`; how many there were."""

    async def items(
        self, spec: GallerySpec, *, after: str | None, limit: int, where: str | None, deadline: Deadline
    ) -> Page[ItemAbout]:
        """Ids strictly after `after`, ascending by code point."""

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
        """Per query, `float32[q, d]`, the items of the largest inner products, best first (ties by id).

        `d` is the width of the field: of all members, or of those in the prefix, in the gallery's order.
        """
