"""The calls about galleries as values, as `service.client.calls` has the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from pydantic import TypeAdapter

from service.api.gallery_schemas import (
    GalleryDetails,
    GalleryList,
    ItemList,
    ItemsDeleted,
    ItemsFound,
    ItemsResponse,
    SearchResponse,
)
from service.client.calls import NOTHING, Call, as_json, image_file, segment
from service.client.gallery_content import Item, Query, item_on_wire, query_on_wire
from service.policies import FieldType, Metric, SearchPolicy

GALLERY: Final = TypeAdapter(GalleryDetails)
GALLERIES: Final = TypeAdapter(GalleryList)
ADDED: Final = TypeAdapter(ItemsResponse)
ITEMS: Final = TypeAdapter(ItemList)
FOUND: Final = TypeAdapter(ItemsFound)
DELETED: Final = TypeAdapter(ItemsDeleted)
HITS: Final = TypeAdapter(SearchResponse)

PLAIN: Final = re.compile(r'[^"%\\\x00-\x1f\x7f\ud800-\udfff]+')
"""Ids that name a multipart file as they are. Others are escaped on the way, and not in one way everywhere."""


class GalleryOptions(TypedDict, total=False):
    """What a gallery is created as; the rest is left to the server."""

    backbones: Sequence[str] | None
    prefix: Sequence[str] | None
    metric: Metric | None
    fields: Mapping[str, FieldType] | None


class SearchOptions(TypedDict, total=False):
    """Fields of a search; the rest is left to the server."""

    top_k: int | None
    filter: Mapping[str, object] | None
    policy: SearchPolicy | None
    backbones: Sequence[str] | None
    min_confidence: float | None
    explain: bool | None
    deadline_ms: int | None


def create_gallery(name: str, options: GalleryOptions) -> Call[GalleryDetails]:
    """Repeatable: what is there as it is asked for stays as it is."""
    return Call("PUT", _path(name), GALLERY, json=as_json(_given(options)))


def gallery(name: str) -> Call[GalleryDetails]:
    return Call("GET", _path(name), GALLERY)


def delete_gallery(name: str) -> Call[None]:
    return Call("DELETE", _path(name), NOTHING, repeatable=False)


def list_galleries(page_size: int, after: str | None = None) -> Call[GalleryList]:
    params: dict[str, str | int] = {"limit": page_size} | ({} if after is None else {"after": after})
    return Call("GET", "/v1/galleries", GALLERIES, params=params)


def galleries_after(page: GalleryList, page_size: int) -> Call[GalleryList] | None:
    """The call for the page that follows `page`, or None after the last."""
    return list_galleries(page_size, page.last_id) if page.has_more and page.last_id else None


def add_items(name: str, items: Sequence[Item], deadline_ms: int | None = None) -> Call[ItemsResponse]:
    """Images alone travel as multipart, a third smaller than base64; everything else as JSON.

    Repeatable: an item that has arrived the first time is unchanged the second time. Raises `OSError` for a file,
    `ValueError` for an embedding of something else than numbers.
    """
    if not items:
        raise ValueError("no items: give at least one")
    path, answer = f"{_path(name)}/items", ADDED
    within_s = None if deadline_ms is None else deadline_ms / 1e3
    timed = {} if deadline_ms is None else {"deadline_ms": deadline_ms}
    images = [(item.id, item.content) for item in items if isinstance(item.content, bytes) and PLAIN.fullmatch(item.id)]
    if len({id for id, _ in images}) < len(items):
        json = as_json({"items": [item_on_wire(item) for item in items], **timed})
        return Call("POST", path, answer, json=json, answer_within_s=within_s)
    fields = {item.id: item.fields for item in items if item.fields}
    files = [image_file(f"images[{id}]", index, image) for index, (id, image) in enumerate(images)]
    data = {"request": as_json({"fields": fields, **timed})}
    return Call("POST", path, answer, data=data, files=files, answer_within_s=within_s)


def list_items(
    name: str, page_size: int, condition: Mapping[str, object] | None = None, after: str | None = None
) -> Call[ItemList]:
    wishes = {"after": after, "filter": None if condition is None else as_json(condition)}
    params: dict[str, str | int] = {"limit": page_size}
    params |= {key: value for key, value in wishes.items() if value is not None}
    return Call("GET", f"{_path(name)}/items", ITEMS, params=params)


def items_after(
    page: ItemList, name: str, page_size: int, condition: Mapping[str, object] | None = None
) -> Call[ItemList] | None:
    """The call for the page that follows `page`, or None after the last."""
    return list_items(name, page_size, condition, page.last_id) if page.has_more and page.last_id else None


def look_up_items(name: str, ids: Sequence[str]) -> Call[ItemsFound]:
    if not ids:
        raise ValueError("no ids: give at least one")
    return Call("POST", f"{_path(name)}/items/lookup", FOUND, json=as_json({"ids": ids}))


def delete_items(name: str, ids: Sequence[str] | None, condition: Mapping[str, object] | None) -> Call[ItemsDeleted]:
    """Not repeatable: the second answer would say that there was nothing."""
    if not (ids or condition):
        raise ValueError("nothing to delete: give ids or a filter; delete_gallery deletes everything")
    body = _given({"ids": ids, "filter": condition})
    return Call("POST", f"{_path(name)}/items/delete", DELETED, repeatable=False, json=as_json(body))


def search(name: str, queries: Sequence[Query], options: SearchOptions) -> Call[SearchResponse]:
    """Raises `OSError` for a file, `ValueError` for an embedding of something else than numbers."""
    if not queries:
        raise ValueError("no queries: give at least one")
    deadline_ms = options.get("deadline_ms")
    return Call(
        "POST",
        f"{_path(name)}/search",
        HITS,
        json=as_json({"queries": [query_on_wire(query) for query in queries], **_given(options)}),
        answer_within_s=None if deadline_ms is None else deadline_ms / 1e3,
    )


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _path(name: str) -> str:
    return f"/v1/galleries/{segment(name)}"
