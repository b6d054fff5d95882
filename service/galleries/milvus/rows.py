"""Items as rows of a collection, and rows as items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from service.galleries.base import Floats, Found, GallerySpec, Item, ItemAbout
from service.galleries.filters import MAX_STRING_BYTES, column_of
from service.policies import FieldType

ID: Final = "id"
MODALITY: Final = "modality"
DIGEST: Final = "digest"
PREFIX: Final = "prefix"
COMMITTEE: Final = "committee"
VECTORS: Final = (PREFIX, COMMITTEE)
"""Lite joins all vectors of the first one in every listing: the narrower one comes first."""

ID_BYTES: Final = 512
MODALITY_BYTES: Final = 16
DIGEST_BYTES: Final = 128
FLOAT_BYTES: Final = 4
ABOUT_BYTES: Final = 1_024
TEXT_BYTES: Final = 4_096

COLUMN_TYPES: Final[Mapping[FieldType, str]] = {
    "string": "VARCHAR",
    "integer": "INT64",
    "number": "DOUBLE",
    "boolean": "BOOL",
}
Row = dict[str, Any]


def widths_of(spec: GallerySpec) -> dict[str, int]:
    return {PREFIX: sum(part.stop - part.start for part in _prefix_parts(spec)), COMMITTEE: spec.width}


def row_bytes(spec: GallerySpec) -> int:
    """Of one item's vectors, which are nearly all of it."""
    return FLOAT_BYTES * sum(widths_of(spec).values())


def text_bytes(item: Item) -> int:
    """Of the texts in its fields, at most."""
    return 4 * sum(len(value) for value in item.about.fields.values() if isinstance(value, str))


def about_bytes(spec: GallerySpec) -> int:
    """A large item without its vectors: most texts are much shorter."""
    return ABOUT_BYTES + TEXT_BYTES * sum(kind == "string" for kind in spec.fields.values())


def about_columns(spec: GallerySpec) -> list[str]:
    return [ID, MODALITY, DIGEST, *(column_of(field) for field in spec.fields)]


def schema_of(spec: GallerySpec) -> Any:
    """A `pymilvus.CollectionSchema`. Imports pymilvus, which takes a second: not for the event loop."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(enable_dynamic_field=False, auto_id=False)
    schema.add_field(ID, DataType.VARCHAR, is_primary=True, max_length=ID_BYTES)
    for name, width in widths_of(spec).items():
        schema.add_field(name, DataType.FLOAT_VECTOR, dim=width)
    schema.add_field(MODALITY, DataType.VARCHAR, max_length=MODALITY_BYTES)
    schema.add_field(DIGEST, DataType.VARCHAR, max_length=DIGEST_BYTES)
    for field, kind in spec.fields.items():
        limits = {"max_length": MAX_STRING_BYTES} if kind == "string" else {}
        schema.add_field(column_of(field), DataType[COLUMN_TYPES[kind]], nullable=True, **limits)
    return schema


def row_of(spec: GallerySpec, item: Item) -> Row:
    """Every column, null ones too: Lite keeps the old value of a column that is not named.

    Raises `ValueError` when the embedding is of another width.
    """
    embedding = np.ascontiguousarray(item.embedding, dtype=np.float32)
    if embedding.shape != (spec.width,):
        raise ValueError(f"an embedding of shape {embedding.shape} in a gallery of width {spec.width}")
    row: Row = {
        ID: item.about.id,
        PREFIX: np.concatenate([embedding[part] for part in _prefix_parts(spec)]),
        COMMITTEE: embedding,
        MODALITY: item.about.modality,
        DIGEST: item.about.digest,
    }
    return row | {column_of(field): item.about.fields.get(field) for field in spec.fields}


def about_of(spec: GallerySpec, row: Mapping[str, Any]) -> ItemAbout:
    return ItemAbout(
        id=row[ID],
        modality=row[MODALITY],
        digest=row[DIGEST],
        fields={field: row.get(column_of(field)) for field in spec.fields},
    )


def item_of(spec: GallerySpec, row: Mapping[str, Any]) -> Item:
    return Item(about=about_of(spec, row), embedding=_vector(row[COMMITTEE]))


def found_of(spec: GallerySpec, hits: Sequence[Mapping[str, Any]], *, embeddings: bool) -> Sequence[Found]:
    """The answer to one query: by score, equal ones by id."""
    found = [_found(spec, {**hit["entity"], ID: hit[ID]}, float(hit["distance"]), embeddings) for hit in hits]
    return sorted(found, key=lambda each: (-each.score, each.about.id))


def _found(spec: GallerySpec, row: Row, score: float, embeddings: bool) -> Found:
    return Found(about_of(spec, row), score, _vector(row[COMMITTEE]) if embeddings else None)


def _prefix_parts(spec: GallerySpec) -> Sequence[slice]:
    """In the gallery's order, in whichever order `prefix` names them."""
    return [part for name, part in spec.parts.items() if name in spec.prefix]


def _vector(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float32)
