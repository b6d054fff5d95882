"""A server of one gallery that keeps digests instead of embeddings, behind a transport that asks no network."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import httpx2

from service.client import NO_RETRY, AsyncQuorumClient

URL = "http://quorum.test"
INFO: dict[str, Any] = {
    "versions": {},
    "engine": "fake",
    "zoo_digest": "d",
    "backbones": {},
    "policies": ["mean"],
    "default_policy": "mean",
    "problems": [],
}
BACKBONE: dict[str, Any] = {
    "family": "f",
    "embedding_dim": 4,
    "gflops": 1.0,
    "image_size": 8,
    "logit_scale": 1.0,
    "temperature": 1.0,
    "digests": {"image": "i", "text": "t"},
    "provenance": "p",
}
PART = re.compile(rb'name="images\[(.+?)\]"; filename="image-\d+"\r\n.*?\r\n\r\n(.*?)\r\n--', re.DOTALL)
FIELDS_PART = re.compile(rb'name="request"\r\n\r\n(.*?)\r\n--', re.DOTALL)
Refuse = Callable[[list[str]], httpx2.Response | None]


def refusal(status: int, message: str = "No.", code: str = "no") -> httpx2.Response:
    body = {"message": message, "type": "x", "param": None, "code": code, "request_id": "r"}
    return httpx2.Response(status, json={"error": body})


class GalleryServer:
    """`refuse` sees the ids of every call that adds; contents that begin with `broken` are their item's error.

    `items` has by id the digest, modality and fields; `embedded` the ids that were new or changed, in order.
    """

    def __init__(self, fields: dict[str, str] | None = None, **limits: int) -> None:
        self.gallery: dict[str, Any] | None = None
        self.limits = limits
        self.items: dict[str, dict[str, Any]] = {}
        self.embedded: list[str] = []
        self.calls: list[str] = []
        self.batches: list[list[str]] = []
        self.created: list[dict[str, Any]] = []
        self.refuse: Refuse = lambda _: None
        self.stale: str | None = None
        self.served: tuple[str, ...] = ("small",)
        if fields is not None:
            self.create({"fields": fields})

    def client(self) -> AsyncQuorumClient:
        return AsyncQuorumClient(URL, transport=httpx2.MockTransport(self), retry=NO_RETRY)

    def create(self, body: dict[str, Any]) -> None:
        self.created.append(body)
        members = [{"name": name, "width": 4, "image": "i", "text": "t"} for name in body.get("backbones", ["small"])]
        self.gallery = {
            "name": "shop",
            "backbones": members,
            "prefix": body.get("prefix", ["small"]),
            "metric": body.get("metric", "cosine"),
            "fields": body.get("fields", {}),
            "created_at": "2026-01-01T00:00:00Z",
            "state": "ready",
            "index": {"type": "FLAT", "params": {}, "exact": True},
        }

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        path = request.url.path
        self.calls.append(f"{request.method} {path}")
        if path == "/info":
            return httpx2.Response(200, json=INFO | {"limits": self.limits})
        if path == "/v1/models":
            return httpx2.Response(200, json={"data": [BACKBONE | {"id": name} for name in self.served]})
        if request.method == "PUT":
            self.create(json.loads(request.content))
        if self.gallery is None:
            return refusal(404, "There is no gallery.", "not_found")
        if request.method == "DELETE":
            self.gallery = None
            self.items.clear()
            return httpx2.Response(204)
        if path == "/v1/galleries/shop":
            return httpx2.Response(200, json=self.gallery | {"items": len(self.items), "stale": self.stale})
        return self._items(request, path)

    def _items(self, request: httpx2.Request, path: str) -> httpx2.Response:
        if request.method == "GET":
            ids = sorted(name for name in self.items if name > request.url.params.get("after", ""))
            page = ids[: int(request.url.params["limit"])]
            ends = {"first_id": None, "last_id": page[-1] if page else None, "has_more": len(ids) > len(page)}
            return httpx2.Response(200, json={"data": [self._out(name) for name in page], **ends})
        if path.endswith("/items"):
            return self._add(request)
        ids = json.loads(request.content)["ids"]
        known = [name for name in ids if name in self.items]
        if path.endswith("/delete"):
            for name in known:
                del self.items[name]
            return httpx2.Response(200, json={"deleted": len(known)})
        missing = [name for name in ids if name not in self.items]
        return httpx2.Response(200, json={"data": [self._out(name) for name in known], "missing": missing})

    def _add(self, request: httpx2.Request) -> httpx2.Response:
        contents = _contents(request)
        self.batches.append([name for name, *_ in contents])
        refused = self.refuse(self.batches[-1])
        if refused is not None:
            return refused
        results = [{"index": i, **self._one(*each)} for i, each in enumerate(contents)]
        if len(results) == 1 and "error" in results[0]:
            return refusal(400, results[0]["error"]["message"])
        usage = {"items": len(results), "backbone_calls": {}, "gflops": 0.0}
        return httpx2.Response(200, json={"gallery": "shop", "results": results, "usage": usage})

    def _one(self, name: str, modality: str, content: bytes, fields: dict[str, Any]) -> dict[str, Any]:
        if content.startswith(b"broken"):
            error = {"message": "It is broken.", "type": "x", "param": None, "code": "invalid_image", "request_id": "r"}
            return {"id": name, "error": error}
        every = dict.fromkeys((self.gallery or {})["fields"]) | fields
        item = {"modality": modality, "digest": hashlib.sha256(content).hexdigest(), "fields": every}
        status = "updated" if name in self.items else "created"
        if self.items.get(name) == item:
            return {"id": name, "status": "unchanged"}
        self.items[name] = item
        self.embedded.append(name)
        return {"id": name, "status": status}

    def _out(self, name: str) -> dict[str, Any]:
        return {"id": name, **self.items[name]}


def _contents(request: httpx2.Request) -> list[tuple[str, str, bytes, dict[str, Any]]]:
    """Id, modality, content and fields of each item in a call."""
    if request.headers["content-type"].startswith("multipart"):
        match = FIELDS_PART.search(request.content)
        fields = json.loads(match[1])["fields"] if match else {}
        found = [(name.decode(), content) for name, content in PART.findall(request.content)]
        return [(name, "image", content, fields.get(name, {})) for name, content in found]
    items = json.loads(request.content)["items"]
    return [
        (item["id"], "text", item["text"].encode(), item["fields"])
        if "text" in item
        else (item["id"], "image", b64decode(item["image"]["data"]), item["fields"])
        for item in items
    ]
