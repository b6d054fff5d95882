"""`/v1/label-sets`: registered once, used by name."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, classify_one, error_of, probabilities
from tests.support.images import jpeg

URL = "/v1/label-sets"


async def put(client: httpx2.AsyncClient, name: str, labels: Any, **fields: Any) -> dict[str, Any]:
    response = await client.put(f"{URL}/{name}", json={"labels": labels, **fields})
    assert response.status_code in (200, 201), response.text
    return dict(response.json())


async def test_a_label_set_is_created_then_replaced(client: httpx2.AsyncClient) -> None:
    created = await client.put(f"{URL}/pets", json={"labels": LABELS})
    replaced = await client.put(f"{URL}/pets", json={"labels": LABELS, "templates": ["{}!"]})
    assert (created.status_code, replaced.status_code) == (201, 200)
    before, after = created.json(), replaced.json()
    assert after["created_at"] == before["created_at"] == before["updated_at"]
    assert datetime.fromisoformat(after["updated_at"]) > datetime.fromisoformat(before["updated_at"])
    assert after["digest"] != before["digest"]
    assert after["templates"] == ["{}!"]
    assert (await client.get(f"{URL}/pets")).json() == after


async def test_a_label_set_has_every_field_of_its_shape(client: httpx2.AsyncClient) -> None:
    shown = await put(client, "pets", LABELS)
    assert set(shown) == {
        *("name", "labels", "templates", "digest", "backbones", "controller", "cascade", "created_at", "updated_at")
    }
    assert (shown["name"], shown["labels"], shown["templates"]) == ("pets", LABELS, ["a photo of a {}."])
    assert (shown["controller"], shown["cascade"]) == (None, None)
    assert {name: state["encoded"] for name, state in shown["backbones"].items()} == {"small": True, "large": True}


async def test_it_is_encoded_when_put_so_that_the_first_request_does_not_wait(
    client: httpx2.AsyncClient, fake_engine: FakeEngine
) -> None:
    await put(client, "pets", LABELS)
    fake_engine.calls.clear()
    await classify_one(client, jpeg(), label_set="pets")
    assert {tower for tower, _ in fake_engine.calls} == {"small_image", "large_image"}


async def test_phrasings_stand_for_their_class(client: httpx2.AsyncClient) -> None:
    phrasings = {"cat": ["cat", "kitten"], "dog": ["dog"]}
    assert (await put(client, "pets", phrasings))["labels"] == phrasings
    result = await classify_one(client, jpeg(), label_set="pets")
    assert set(probabilities(result)) == {"cat", "dog"}
    assert probabilities(result) != probabilities(await classify_one(client, jpeg(), labels=["cat", "dog"]))


async def test_a_replaced_label_set_answers_at_once(client: httpx2.AsyncClient) -> None:
    await put(client, "pets", LABELS)
    await classify_one(client, jpeg(), label_set="pets")
    await put(client, "pets", ["car", "bus"])
    assert set(probabilities(await classify_one(client, jpeg(), label_set="pets"))) == {"car", "bus"}


async def test_names_that_look_alike_never_mix(client: httpx2.AsyncClient) -> None:
    contents = {"pets": ["cat"], "Pets": ["dog"], "PETS": ["teapot"], "pets.": ["car"], "pets-1": ["bus"]}
    for name, labels in contents.items():
        await put(client, name, labels)
    for name, labels in contents.items():
        assert (await client.get(f"{URL}/{name}")).json()["labels"] == labels
        assert set(probabilities(await classify_one(client, jpeg(), label_set=name))) == set(labels)


async def test_equal_contents_under_two_names_part_when_one_changes(client: httpx2.AsyncClient) -> None:
    first, second = await put(client, "pets", LABELS), await put(client, "animals", LABELS)
    assert first["digest"] == second["digest"]
    await put(client, "pets", ["car"])
    assert (await client.delete(f"{URL}/pets")).status_code == 204
    assert set(probabilities(await classify_one(client, jpeg(), label_set="animals"))) == set(LABELS)


async def test_labels_that_differ_in_unicode_alone_are_two_labels(client: httpx2.AsyncClient) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    await put(client, "places", [composed, decomposed], templates=["{}"])
    answer = probabilities(await classify_one(client, jpeg(), label_set="places"))
    assert answer.keys() == {composed, decomposed}
    assert answer[composed] != answer[decomposed]


async def test_a_deleted_label_set_is_gone(client: httpx2.AsyncClient) -> None:
    await put(client, "pets", LABELS)
    deleted = await client.delete(f"{URL}/pets")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for method in ("GET", "DELETE"):
        assert error_of(await client.request(method, f"{URL}/pets"), 404, "not_found")["param"] == "name"
    response = await client.post("/v1/classify?label_set=pets", content=jpeg(), headers={"content-type": "image/jpeg"})
    assert "PUT /v1/label-sets/pets" in error_of(response, 404, "not_found")["message"]


@pytest.mark.parametrize("name", ["a", "7", "x" * 64, "A.b-c_d", "a..b"])
async def test_a_name_may_be(client: httpx2.AsyncClient, name: str) -> None:
    assert (await put(client, name, LABELS))["name"] == name


@pytest.mark.parametrize(
    "name",
    ["x" * 65, " ", "a b", "a\n", "-a", ".a", "_a", "a/b", "../a", "..", "ä", "a%", "a\0", "a\\b", "\uff41", "'--"],
)
async def test_a_name_may_not_be(client: httpx2.AsyncClient, name: str) -> None:
    # A slash, even an encoded one, leads to an address that does not exist.
    status = 404 if "/" in name or name == ".." else 422
    for method, body in (("PUT", {"labels": LABELS}), ("GET", None), ("DELETE", None)):
        response = await client.request(method, f"{URL}/{quote(name, safe='')}", json=body)
        error_of(response, status, "not_found" if status == 404 else "invalid_request")
    assert (await client.get(URL)).json()["data"] == []


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "invalid_request", "labels"),
        ({"labels": []}, "invalid_labels", "labels"),
        ({"labels": {}}, "invalid_labels", "labels"),
        ({"labels": ["cat", "cat"]}, "invalid_labels", "labels[1]"),
        ({"labels": {"cat": []}}, "invalid_labels", "labels.cat"),
        ({"labels": {"cat": [""]}}, "invalid_labels", "labels.cat[0]"),
        ({"labels": {"cat": "kitten"}}, "invalid_request", "labels.cat"),
        ({"labels": {"cat": [1]}}, "invalid_request", "labels.cat[0]"),
        ({"labels": "cat"}, "invalid_request", "labels"),
        ({"labels": ["cat"], "templates": ["{"]}, "invalid_labels", "templates[0]"),
        ({"labels": ["cat"], "name": "dogs"}, "invalid_request", "name"),
        ([], "invalid_request", None),
    ],
)
async def test_wrong_contents_are_named_and_not_kept(
    client: httpx2.AsyncClient, body: object, code: str, param: str | None
) -> None:
    error = error_of(await client.put(f"{URL}/pets", json=body), 422, code)
    assert error["param"] == param
    error_of(await client.get(f"{URL}/pets"), 404, "not_found")


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_body"),
        (b"\xff", "application/json", 400, "malformed_body"),
        (b"[" * 100_000, "application/json", 400, "malformed_body"),
        (b'{"labels": ["\\ud800"]}', "application/json", 400, "malformed_body"),
        (b'{"labels": ["a"], "\\ud800": 1}', "application/json", 400, "malformed_body"),
        (b'{"labels": {"\\ud800": ["a"]}}', "application/json", 400, "malformed_body"),
        (b'{"labels": ' + b"9" * 10_000 + b"}", "application/json", 400, "malformed_body"),
        (b'{"labels": ["a"]}', "text/plain", 415, "unsupported_media_type"),
        (b'{"labels": ["a"]}', "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"", "application/json", 422, "invalid_request"),
    ],
)
async def test_a_body_that_is_no_label_set_is_refused(
    client: httpx2.AsyncClient, content: bytes, content_type: str, status: int, code: str
) -> None:
    response = await client.put(f"{URL}/pets", content=content, headers={"content-type": content_type})
    error_of(response, status, code)


async def test_pages_follow_each_other_until_the_last(client: httpx2.AsyncClient) -> None:
    names = [f"set-{index}" for index in range(7)]
    for name in reversed(names):
        await put(client, name, LABELS)
    seen: list[str] = []
    page: dict[str, Any] = {"has_more": True, "last_id": None}
    while page["has_more"]:
        after = {"after": page["last_id"]} if page["last_id"] else {}
        page = (await client.get(URL, params={"limit": 3, **after})).json()
        assert set(page) == {"object", "data", "has_more", "first_id", "last_id"}
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["name"], page["data"][-1]["name"])
        seen += [each["name"] for each in page["data"]]
    assert seen == names


async def test_a_page_after_the_last_is_empty(client: httpx2.AsyncClient) -> None:
    await put(client, "pets", LABELS)
    page = (await client.get(URL, params={"after": "pets"})).json()
    assert page == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x"])
async def test_a_wrong_limit_is_named(client: httpx2.AsyncClient, query: str) -> None:
    assert error_of(await client.get(f"{URL}?{query}"), 422, "invalid_request")["param"] == "limit"


@pytest.mark.parametrize("after", ["%00", "%ff", "'%20OR%201=1", "x" * 10_000])
async def test_a_strange_cursor_is_only_a_cursor(client: httpx2.AsyncClient, after: str) -> None:
    await put(client, "pets", LABELS)
    assert (await client.get(f"{URL}?after={after}")).status_code == 200


async def test_label_sets_survive_a_restart(make_app: MakeApp, serve: Serve) -> None:
    async with serve(make_app()) as client:
        before = await put(client, "pets", {"cat": ["cat", "kitten"], "dog": ["dog"]}, templates=["{}."])
        answer = await classify_one(client, jpeg(), label_set="pets")
    async with serve(make_app()) as client:
        assert probabilities(await classify_one(client, jpeg(), label_set="pets")) == probabilities(answer)
        assert (await client.get(f"{URL}/pets")).json() == before


async def test_a_text_tower_that_fails_does_not_lose_the_label_set(
    client: httpx2.AsyncClient, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.failing = {"small_text"}
    stored = await put(client, "pets", LABELS)
    assert {name: state["encoded"] for name, state in stored["backbones"].items()} == {"small": False, "large": True}
    fake_engine.faults.failing.clear()
    result = await classify_one(client, jpeg(), label_set="pets")
    assert not result["degraded"]
    assert (await client.get(f"{URL}/pets")).json()["backbones"]["small"]["encoded"]
