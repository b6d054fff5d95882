"""Galleries that a stub gateway keeps: really filled, really searched, in files that outlive the process."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.loadtest.stub import Asked, Reply

WIDTHS = {"small": 8, "large": 12}
PREFIX = ["small"]
IMAGE_ID = re.compile(rb'name="images\[([^]]+)\]"')
TARGET = re.compile(r"/v1/galleries/([^/]+)(/items|/search)?")


class Galleries:
    """`folder` holds a file per gallery, of a line per item. A text is the vector that its letters seed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._items = {path.stem: self._read(path) for path in folder.glob("*.jsonl")}

    def answer(self, asked: Asked) -> Reply:
        if asked.target == "/v1/embeddings":
            given = json.loads(asked.body)["input"]
            return _json({"object": "list", "data": [{"embedding": ""} for _ in given]})
        found = TARGET.fullmatch(asked.target)
        if found is None:
            return Reply(404)
        name, what = found.groups()
        if asked.method == "PUT":
            self._items.setdefault(name, {})
        if name not in self._items:
            return Reply(404)
        if what == "/items":
            return self._add(name, asked)
        return self._search(name, json.loads(asked.body)) if what == "/search" else self._details(name)

    def _details(self, name: str) -> Reply:
        members = [{"name": member, "width": width} for member, width in WIDTHS.items()]
        index = {"type": "FLAT", "params": {}, "exact": True}
        about = {"backbones": members, "prefix": PREFIX, "state": "ready", "index": index}
        return _json(about | {"items": len(self._items[name])})

    def _add(self, name: str, asked: Asked) -> Reply:
        if asked.headers["content-type"].startswith("multipart/"):
            items = [{"id": each.decode(), "embedding": "", "fields": {}} for each in IMAGE_ID.findall(asked.body)]
        else:
            items = json.loads(asked.body)["items"]
        with (self._folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(item) + "\n" for item in items)
        results = [{"index": index, "id": item["id"], "status": "created"} for index, item in enumerate(items)]
        self._items[name] |= {item["id"]: _kept(item) for item in items}
        return _json({"results": results})

    def _search(self, name: str, call: dict[str, Any]) -> Reply:
        asked = call.get("backbones") or list(WIDTHS)
        below = call.get("filter", {}).get("percent", {}).get("lt", 100)
        kept = {each: vector for each, (vector, percent) in self._items[name].items() if percent < below}
        ids, matrix = list(kept), np.stack(list(kept.values()))
        weights = {backbone: 1.0 / len(asked) for backbone in asked}
        results = []
        for index, query in enumerate(call["queries"]):
            scores = matrix @ (_vector(query) * np.repeat([weights.get(each, 0.0) for each in WIDTHS], _COUNTS))
            best = np.argsort(-scores)[: call["top_k"]]
            hits = [{"id": ids[item], "score": float(scores[item]), "fields": {}} for item in best]
            exit_reason = "confident" if call.get("min_confidence") == 0 else "full"
            results.append({"index": index, "hits": hits, "weights": weights, "exit_reason": exit_reason})
        texts = sum("text" in query for query in call["queries"])
        return _json({"results": results, "usage": {"backbone_calls": dict.fromkeys(asked, texts)}})

    def _read(self, path: Path) -> dict[str, tuple[np.ndarray, int]]:
        items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {item["id"]: _kept(item) for item in items}


_COUNTS = list(WIDTHS.values())


def _kept(item: dict[str, Any]) -> tuple[np.ndarray, int]:
    return _vector(item), item["fields"].get("percent", 0)


def _vector(thing: dict[str, Any]) -> np.ndarray:
    if thing.get("embedding"):
        return np.frombuffer(base64.b64decode(thing["embedding"]), dtype="<f4")
    seed = zlib.crc32(thing.get("text", "").encode())
    return np.random.default_rng(seed).standard_normal(sum(_COUNTS)).astype(np.float32)


def _json(body: dict[str, Any]) -> Reply:
    return Reply(body=json.dumps(body).encode())
