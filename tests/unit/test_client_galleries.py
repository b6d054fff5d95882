"""The client's calls about galleries: what they send, what they make of answers, and which are sent again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from service.api.gallery_schemas import ItemFailure, ItemsRequest, SearchFailure, SearchRequest
from service.client import ApiError, ById, ConnectionFailedError, Embedding, Item, Mix
from tests.support.client import Caller, Server
from tests.support.images import jpeg

GALLERY: dict[str, Any] = {
    "name": "shop",
    "backbones": [{"name": "small", "width": 4, "image": "i", "text": "t"}],
    "prefix": ["small"],
    "metric": "cosine",
    "fields": {"year": "integer"},
    "stale": None,
    "created_at": "2026-01-01T00:00:00Z",
}
DETAILS = GALLERY | {"items": 3, "state": "ready", "index": {"type": "FLAT", "params": {}, "exact": True}}
ERROR = {"message": "No.", "type": "invalid_request_error", "param": None, "code": "x", "request_id": "r"}
ADDED = {
    "gallery": "shop",
    "results": [{"index": 0, "id": "a", "status": "created"}, {"index": 1, "id": "b", "error": ERROR}],
    "usage": {"items": 2, "backbone_calls": {"small": 1}, "gflops": 0.1},
}
FOUND = {
    "gallery": "shop",
    "results": [
        {
            "index": 0,
            "hits": [{"id": "a", "score": 0.5, "fields": {"year": 2024}}],
            "policy": "mean",
            "controller": None,
            "confidence": 0.9,
            "exit_reason": "full",
            "stages": 1,
            "backbones": ["small"],
            "gflops": 0.1,
            "gflops_full": 0.1,
            "degraded": False,
            "failed": [],
        },
        {"index": 1, "error": ERROR},
    ],
    "usage": {"queries": 2, "backbone_calls": {"small": 1}, "gflops": 0.1, "gflops_full": 0.1},
}


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


def ok(body: object) -> httpx2.Response:
    return httpx2.Response(200, json=body)


def sent(server: Server) -> Any:
    """The one request's JSON."""
    (request,) = server.requests
    return json.loads(request.content)


def page(*rows: dict[str, Any], more: bool, last: str) -> httpx2.Response:
    return ok({"object": "list", "data": list(rows), "has_more": more, "first_id": None, "last_id": last})


def item(name: str) -> dict[str, Any]:
    return {"id": name, "modality": "image", "digest": "d", "fields": {}}


def test_a_gallery_is_created_with_what_was_said_and_nothing_else(call: Caller) -> None:
    server = Server(ok(DETAILS))
    assert call(server, "create_gallery", "shop", fields={"year": "integer"}).items == 3
    assert sent(server) == {"fields": {"year": "integer"}}
    assert server.requests[0].method == "PUT"
    assert server.requests[0].url.path == "/v1/galleries/shop"


def test_galleries_are_looked_at_listed_and_deleted(call: Caller) -> None:
    assert call(Server(ok(DETAILS)), "gallery", "shop").index.exact
    pages = Server(page(GALLERY, more=True, last="shop"), page(GALLERY | {"name": "zoo"}, more=False, last="zoo"))
    assert [each.name for each in call(pages, "list_galleries", page_size=1)] == ["shop", "zoo"]
    assert dict(pages.requests[1].url.params) == {"limit": "1", "after": "shop"}
    gone = Server(httpx2.Response(204))
    assert call(gone, "delete_gallery", "shop") is None
    assert gone.requests[0].method == "DELETE"


def test_images_travel_as_files_that_are_named_by_their_ids(call: Caller, tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(jpeg(seed=1))
    server = Server(ok(ADDED))
    answer = call(
        server,
        "add_items",
        "shop",
        [Item("Käse/犬.jpg", file, {"year": 2024}), Item("b", jpeg(seed=2))],
        deadline_ms=5_000,
    )
    assert [type(each) is ItemFailure for each in answer.results] == [False, True]
    (request,) = server.requests
    assert request.headers["content-type"].startswith("multipart/form-data")
    body = request.content
    assert 'name="images[Käse/犬.jpg]"; filename="image-0"'.encode() in body
    assert b'name="images[b]"; filename="image-1"' in body
    assert jpeg(seed=1) in body
    assert jpeg(seed=2) in body
    assert json.dumps({"fields": {"Käse/犬.jpg": {"year": 2024}}, "deadline_ms": 5_000}).encode() in body
    assert request.extensions["timeout"]["read"] == 10.0


@pytest.mark.parametrize("name", ['a"b', "a\\b", "100%22", "a\nb", "\x7f", "\udce9"])
def test_ids_that_no_header_carries_travel_as_json(call: Caller, name: str) -> None:
    server = Server(ok(ADDED))
    call(server, "add_items", "shop", [Item(name, jpeg()), Item("b", jpeg())])
    assert [each["id"] for each in sent(server)["items"]] == [name, "b"]


def test_texts_images_and_ready_embeddings_are_mixed_as_the_server_reads_them(call: Caller) -> None:
    numbers = np.array([0.5, -0.25], dtype=np.float32)
    server = Server(ok(ADDED))
    items = [Item("t", "a dress"), Item("i", jpeg()), Item("e", Embedding(numbers, "image")), Item("l", Embedding([1]))]
    call(server, "add_items", "shop", items)
    text, image, ready, listed = ItemsRequest.model_validate_json(server.requests[0].content).items
    assert text.text == "a dress"
    assert image.image is not None
    assert base64.b64decode(image.image.data) == jpeg()
    assert isinstance(ready.embedding, str)
    assert np.frombuffer(base64.b64decode(ready.embedding), "<f4").tolist() == [0.5, -0.25]
    assert (ready.modality, listed.modality) == ("image", "unknown")


@pytest.mark.parametrize("numbers", [[1e39], [[1.0]], ["one"]])
def test_what_float32_cannot_hold_is_not_sent(call: Caller, numbers: Any) -> None:
    server = Server(ok(ADDED))
    with pytest.raises(ValueError, match="a flat list of numbers"):
        call(server, "add_items", "shop", [Item("a", Embedding(numbers))])
    assert not server.requests


def test_items_are_added_again_after_a_lost_connection(call: Caller) -> None:
    server = Server(httpx2.ReadError, ok(ADDED))
    assert len(call(server, "add_items", "shop", [Item("a", jpeg())]).results) == 2
    assert len(server.requests) == 2
    assert server.requests[0].headers["content-length"] == server.requests[1].headers["content-length"]


@pytest.mark.parametrize(("method", "more"), [("delete_items", [["a"]]), ("delete_gallery", [])])
def test_a_deletion_is_not_repeated_after_a_lost_connection(call: Caller, method: str, more: list[Any]) -> None:
    server = Server(httpx2.ReadError)
    with pytest.raises(ConnectionFailedError):
        call(server, method, "shop", *more)
    assert len(server.requests) == 1


def test_items_are_listed_across_pages_under_a_filter(call: Caller) -> None:
    server = Server(page(item("a"), more=True, last="a"), page(item("b"), more=False, last="b"))
    found = call(server, "list_items", "shop", filter={"year": {"gte": 2020}}, page_size=1)
    assert [each.id for each in found] == ["a", "b"]
    first, second = (dict(request.url.params) for request in server.requests)
    assert json.loads(first.pop("filter")) == json.loads(second.pop("filter")) == {"year": {"gte": 2020}}
    assert (first, second) == ({"limit": "1"}, {"limit": "1", "after": "a"})


def test_items_are_looked_up_and_deleted(call: Caller) -> None:
    server = Server(ok({"data": [item("a")], "missing": ["b"]}))
    found = call(server, "look_up_items", "shop", ["a", "b"])
    assert ([each.id for each in found.data], found.missing) == (["a"], ["b"])
    assert sent(server) == {"ids": ["a", "b"]}
    for arguments, options, body in (
        ([["a"]], {}, {"ids": ["a"]}),
        ([], {"filter": {"year": 2024}}, {"filter": {"year": 2024}}),
    ):
        server = Server(ok({"deleted": 1}))
        assert call(server, "delete_items", "shop", *arguments, **options) == 1
        assert sent(server) == body


def test_every_kind_of_query_is_sent_as_the_server_reads_it(call: Caller, tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(jpeg(seed=1))
    server = Server(ok(FOUND))
    queries = ["id:no", file, ById("a"), Embedding([0.5], "text"), Mix([("a dress", 0.7), (file, -0.3)])]
    answer = call(server, "search", "shop", queries, top_k=3, policy="mean", filter={"year": 2024}, explain=True)
    assert answer.results[0].hits[0].id == "a"
    assert isinstance(answer.results[1], SearchFailure)
    request = SearchRequest.model_validate_json(server.requests[0].content)
    assert (request.top_k, request.policy, request.filter, request.explain) == (3, "mean", {"year": 2024}, True)
    text, image, by_id, ready, mix = request.queries
    assert text.text == "id:no"
    assert base64.b64decode(image.image or "") == jpeg(seed=1)
    assert by_id.id == "a"
    assert (ready.embedding, ready.modality) == (base64.b64encode(np.float32(0.5).tobytes()).decode(), "text")
    assert mix.mix is not None
    assert [(part.text, part.weight) for part in mix.mix] == [("a dress", 0.7), (None, -0.3)]
    assert base64.b64decode(mix.mix[1].image or "") == jpeg(seed=1)


@pytest.mark.parametrize("query", ["a dress", jpeg(), ById("a"), Embedding([1.0]), Mix([("a", 1.0)])])
def test_one_query_needs_no_list(call: Caller, query: Any) -> None:
    server = Server(ok(FOUND))
    call(server, "search", "shop", query)
    assert len(sent(server)["queries"]) == 1
    assert set(sent(server)) == {"queries"}


@pytest.mark.parametrize(
    ("method", "arguments", "sentence"),
    [
        ("add_items", [[]], "no items"),
        ("search", [[]], "no queries"),
        ("look_up_items", [[]], "no ids"),
        ("delete_items", [], "nothing to delete"),
        ("delete_items", [[]], "nothing to delete"),
    ],
)
def test_nothing_is_not_sent(call: Caller, method: str, arguments: list[Any], sentence: str) -> None:
    server = Server(ok(FOUND))
    with pytest.raises(ValueError, match=sentence):
        call(server, method, "shop", *arguments)
    assert not server.requests


@pytest.mark.parametrize(
    "ask",
    [
        lambda call, server, missing: call(server, "add_items", "shop", [Item("a", missing)]),
        lambda call, server, missing: call(server, "search", "shop", missing),
        lambda call, server, missing: call(server, "search", "shop", Mix([(missing, 1.0)])),
    ],
    ids=["item", "query", "part of a mix"],
)
def test_a_file_that_is_not_there_is_an_os_error(
    call: Caller, tmp_path: Path, ask: Callable[[Caller, Server, Path], object]
) -> None:
    server = Server(ok(FOUND))
    with pytest.raises(OSError, match="nothing here"):
        ask(call, server, tmp_path / "nothing here")
    assert not server.requests


def test_a_name_cannot_become_another_address(call: Caller) -> None:
    server = Server(ok(FOUND))
    call(server, "search", "../models?x", "a")
    assert server.requests[0].url.raw_path == b"/v1/galleries/..%2Fmodels%3Fx/search"


def test_a_refusal_is_an_api_error(call: Caller) -> None:
    body = ERROR | {"code": "gallery_differs", "message": "It has other fields."}
    with pytest.raises(ApiError, match="It has other fields") as caught:
        call(Server(httpx2.Response(409, json={"error": body})), "create_gallery", "shop")
    assert caught.value.code == "gallery_differs"
