"""What is put into a gallery and what is asked of it, as user code writes it and as it travels."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from service.client.connecting import ImageSource

FieldValue = str | int | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A ready one: the gallery's backbones side by side, such as a row of `embed(...).vectors`.

    As a query it is weighed by the controller of its `modality`, where that is known.
    """

    numbers: Iterable[float]
    modality: Literal["image", "text", "unknown"] = "unknown"


@dataclass(frozen=True, slots=True)
class ById:
    """An item of the gallery as a query; it is not among its own hits."""

    id: str


Content = str | ImageSource | Embedding
"""A text (any string), an image, or a ready embedding."""
Part = Content | ById


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """Several parts as one query, each with its weight; a negative one leads away from its part.

    `Mix([("a red dress", 0.7), (Path("photo.jpg"), 0.3)])`
    """

    parts: Sequence[tuple[Part, float]]


Query = Part | Mix


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """What an item is and is made of. `fields` are those that the gallery was created with; it replaces them all."""

    id: str
    content: Content
    fields: Mapping[str, FieldValue] = field(default_factory=dict)


def read_items(items: Iterable[Item]) -> list[Item]:
    """With the bytes of images in place of their files. Raises `OSError`."""
    return [replace(item, content=_read(item.content)) for item in items]


def read_queries(queries: Query | Iterable[Query]) -> list[Query]:
    """One query alone, or several; a string is never taken for its letters. Raises `OSError`."""
    if isinstance(queries, str | bytes | Path | ById | Embedding | Mix):
        queries = [queries]
    return [
        Mix([(_read(part), weight) for part, weight in q.parts]) if isinstance(q, Mix) else _read(q) for q in queries
    ]


def item_on_wire(item: Item) -> dict[str, Any]:
    """Raises `ValueError` for an embedding that holds what is no float32."""
    content = _on_wire(item.content)
    if "image" in content:
        content["image"] = {"data": content["image"]}
    return {"id": item.id, **content, "fields": dict(item.fields)}


def query_on_wire(query: Query) -> dict[str, Any]:
    """Raises `ValueError` for an embedding that holds what is no float32."""
    if isinstance(query, Mix):
        return {"mix": [{**_on_wire(part), "weight": weight} for part, weight in query.parts]}
    return _on_wire(query)


def _read(part: Any) -> Any:
    return part.read_bytes() if isinstance(part, Path) else part


def _on_wire(part: Part) -> dict[str, Any]:
    match part:
        case str():
            return {"text": part}
        case ById():
            return {"id": part.id}
        case Embedding():
            return {"embedding": _packed(part.numbers), "modality": part.modality}
        case _:
            image = part.read_bytes() if isinstance(part, Path) else part
            return {"image": b64encode(image).decode()}


def _packed(numbers: Iterable[float]) -> str:
    """Base64 of little-endian float32, a fifth of what the numbers take as text."""
    values = list(numbers)
    try:
        return b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except (struct.error, OverflowError) as error:
        raise ValueError("an embedding is a flat list of numbers that float32 can hold") from error
