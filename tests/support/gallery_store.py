"""Small galleries for tests of their store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np

from service.deadline import Deadline
from service.galleries.base import FieldValue, Floats, GalleryMember, GallerySpec, Item, ItemAbout
from service.policies import FieldType, Modality

FIELDS: Mapping[str, FieldType] = {"source": "string", "year": "integer", "rating": "number", "reviewed": "boolean"}
EMPTY: Mapping[str, FieldValue] = dict.fromkeys(FIELDS)


def soon(seconds: float = 60.0) -> Deadline:
    return Deadline.after(seconds)


def member(name: str, width: int) -> GalleryMember:
    return GalleryMember(name, width, image=f"{name}-image", text=f"{name}-text", geometry=f"{name} in 64 x 64")


def gallery(
    name: str = "pets",
    widths: Mapping[str, int] | None = None,
    prefix: tuple[str, ...] = ("small",),
    fields: Mapping[str, FieldType] = FIELDS,
) -> GallerySpec:
    """By default two members, `large` (5 numbers, first) and `small` (3), which is the prefix."""
    members = tuple(member(each, width) for each, width in (widths or {"large": 5, "small": 3}).items())
    return GallerySpec(name, members, prefix, metric="cosine", fields=fields, created_at=datetime.now(UTC))


def item(
    item_id: str,
    embedding: Floats,
    fields: Mapping[str, FieldValue] = EMPTY,
    modality: Modality = "image",
    **values: FieldValue,
) -> Item:
    """`values` are fields too."""
    digest = sha256(item_id.encode() + embedding.tobytes()).hexdigest()
    return Item(ItemAbout(item_id, modality, digest, {**EMPTY, **fields, **values}), embedding)


def vectors(count: int, width: int = 8, seed: int = 0) -> Floats:
    """`float32[count, width]`"""
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
