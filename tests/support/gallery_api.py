"""Calls of the gallery API that have to succeed."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from tests.support.api import error_of
from tests.support.images import as_base64, jpeg

URL = "/v1/galleries"
FIELDS = {"shelf": "string", "year": "integer", "price": "number", "new": "boolean"}


async def make(client: httpx2.AsyncClient, name: str = "pictures", **definition: Any) -> dict[str, Any]:
    response = await client.put(f"{URL}/{name}", json={"fields": FIELDS, **definition})
    assert response.status_code in (200, 201), response.text
    return dict(response.json())


def image_item(name: str, seed: int, **fields: Any) -> dict[str, Any]:
    return {"id": name, "image": {"data": as_base64(jpeg(seed=seed))}, "fields": fields}


async def add(client: httpx2.AsyncClient, *items: dict[str, Any], name: str = "pictures") -> list[dict[str, Any]]:
    response = await client.post(f"{URL}/{name}/items", json={"items": list(items)})
    assert response.status_code == 200, response.text
    return list(response.json()["results"])


async def add_files(
    client: httpx2.AsyncClient, files: dict[str, bytes], fields: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    parts = [(f"images[{name}]", (name, data, "image/jpeg")) for name, data in files.items()]
    response = await client.post(
        f"{URL}/pictures/items", files=parts, data={"request": json.dumps({"fields": fields or {}})}
    )
    assert response.status_code == 200, response.text
    return list(response.json()["results"])


async def search(client: httpx2.AsyncClient, *queries: dict[str, Any], **wishes: Any) -> list[dict[str, Any]]:
    response = await client.post(f"{URL}/pictures/search", json={"queries": list(queries), **wishes})
    assert response.status_code == 200, response.text
    return list(response.json()["results"])


def ids(result: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in result["hits"]]


def refusal(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The error of an answer of this status, in the one shape; its code is the caller's to look at."""
    assert response.status_code == status, response.text
    return error_of(response, status, response.json()["error"]["code"])
