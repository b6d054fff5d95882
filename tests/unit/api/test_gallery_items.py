"""`/v1/galleries/{name}/items`: added, looked up, listed, deleted."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import numpy as np
import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp, Serve
from tests.support.gallery_api import URL, add, add_files, image_item, make, refusal
from tests.support.images import jpeg

ITEMS = f"{URL}/pictures/items"


@pytest.fixture
async def client(make_app: MakeApp, fake_engine: FakeEngine, serve: Serve) -> AsyncIterator[httpx2.AsyncClient]:
    app = make_app(engine=fake_engine, max_images=5, max_items=7)
    async with serve(app) as client:
        await make(client)
        yield client


def embedding(seed: int) -> list[float]:
    numbers: list[float] = np.random.default_rng(seed).standard_normal(20).astype(np.float32).tolist()
    return numbers


async def listed(client: httpx2.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await client.get(ITEMS, params=query)
    assert response.status_code == 200, response.text
    return list(response.json()["data"])


async def test_images_texts_and_embeddings_are_kept_with_their_fields(client: httpx2.AsyncClient) -> None:
    results = await add(
        client,
        image_item("an image", 1, shelf="a", year=2020, price=1, new=True),
        {"id": "words", "text": "a cat"},
        {"id": "ready", "embedding": embedding(1), "modality": "text", "fields": {"price": 0.5}},
    )
    assert [(each["index"], each["id"], each["status"]) for each in results] == [
        (0, "an image", "created"),
        (1, "words", "created"),
        (2, "ready", "created"),
    ]
    items = {each["id"]: each for each in await listed(client)}
    assert items["an image"]["fields"] == {"shelf": "a", "year": 2020, "price": 1.0, "new": True}
    assert items["words"]["fields"] == {"shelf": None, "year": None, "price": None, "new": None}
    assert {name: each["modality"] for name, each in items.items()} == {
        "an image": "image",
        "words": "text",
        "ready": "text",
    }
    assert items["an image"]["digest"] == hashlib.sha256(jpeg(seed=1)).hexdigest()
    assert items["words"]["digest"] == hashlib.sha256(b"a cat").hexdigest()


async def test_the_embedding_of_the_embeddings_call_is_the_one_that_is_kept(client: httpx2.AsyncClient) -> None:
    call = {"model": "committee", "input": "a cat", "encoding_format": "base64"}
    ready = (await client.post("/v1/embeddings", json=call)).json()["data"][0]["embedding"]
    await add(client, {"id": "ready", "embedding": ready, "modality": "text"}, {"id": "words", "text": "a cat"})
    query = {"queries": [{"text": "a cat"}]}
    (result,) = (await client.post(f"{URL}/pictures/search", json=query)).json()["results"]
    assert [hit["score"] for hit in result["hits"]] == pytest.approx([1, 1], abs=1e-5)


async def test_files_of_a_form_are_named_by_their_ids(client: httpx2.AsyncClient) -> None:
    files = {"a/b c.jpg": jpeg(seed=1), 'quo"te': jpeg(seed=2), "50%22": jpeg(seed=3)}
    fields = {name: {"shelf": name} for name in files}
    results = await add_files(client, files, fields)
    assert [each["status"] for each in results] == ["created"] * 3
    assert {each["id"]: each["fields"]["shelf"] for each in await listed(client)} == {name: name for name in files}


async def test_sending_again_changes_nothing_and_embeds_nothing(
    client: httpx2.AsyncClient, fake_engine: FakeEngine
) -> None:
    items = [image_item("a", 1, year=1), {"id": "b", "text": "a cat"}]
    await add(client, *items)
    calls = len(fake_engine.calls)
    assert [each["status"] for each in await add(client, *items)] == ["unchanged"] * 2
    assert len(fake_engine.calls) == calls
    assert [each["status"] for each in await add(client, image_item("a", 1, year=2))] == ["updated"]
    assert len(await listed(client)) == 2


async def test_one_wrong_item_does_not_fail_its_neighbours(client: httpx2.AsyncClient) -> None:
    results = await add(
        client,
        image_item("good", 1),
        {"id": "broken", "image": {"data": base64.b64encode(b"no image").decode()}},
        {"id": "no base64", "image": {"data": "???"}},
        image_item("wrong field", 2, colour="red"),
        image_item("wrong type", 3, year="new"),
        {"id": "narrow", "embedding": [1.0]},
    )
    assert [each.get("status") or each["error"]["code"] for each in results] == [
        "created",
        "invalid_image",
        "invalid_image",
        "invalid_item",
        "invalid_item",
        "invalid_item",
    ]
    assert all(each["error"]["param"].startswith(f"items[{each['index']}]") for each in results[1:])
    assert [each["id"] for each in await listed(client)] == ["good"]


async def test_a_single_wrong_item_is_the_calls_error(client: httpx2.AsyncClient) -> None:
    response = await client.post(ITEMS, json={"items": [image_item("a", 1, colour="red")]})
    error = refusal(response, 422)
    assert (error["code"], error["param"]) == ("invalid_item", "items[0].fields")
    assert "shelf" in error["message"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"items": []}, 422, "items"),
        ({"items": [{"id": "a"}]}, 422, None),
        ({"items": [{"id": "a", "text": "x", "image": {"data": ""}}]}, 422, None),
        ({"items": [{"id": "", "text": "x"}]}, 422, None),
        ({"items": [{"id": "a", "text": "x", "modality": "text"}]}, 422, None),
        ({"items": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]}, 422, "items"),
        ({"items": [{"id": str(n), "text": "x"} for n in range(8)]}, 413, "items"),
        ({"items": [{"id": str(n), "image": {"data": ""}} for n in range(6)]}, 413, "items"),
        ({"items": [{"id": "a", "text": "x"}], "deadline_ms": 10**9}, 422, "deadline_ms"),
    ],
)
async def test_a_call_that_makes_no_sense_is_refused(
    client: httpx2.AsyncClient, body: dict[str, Any], status: int, param: str | None
) -> None:
    error = refusal(await client.post(ITEMS, json=body), status)
    assert param is None or error["param"] == param
    assert await listed(client) == []


async def test_forms_with_wrong_parts_are_refused(client: httpx2.AsyncClient) -> None:
    async def post(name: str, fields: dict[str, Any]) -> httpx2.Response:
        return await client.post(ITEMS, files=[(name, ("a", b"x"))], data={"request": json.dumps(fields)})

    assert 'named "images[ID]"' in refusal(await post("pictures", {}), 422)["message"]
    assert refusal(await post("images[a]", {"fields": {"b": {}}}), 422)["param"] == "fields"
    too_many = [(f"images[{n}]", (str(n), b"x")) for n in range(6)]
    assert refusal(await client.post(ITEMS, files=too_many), 413)["param"] == "items"
    assert refusal(await client.post(ITEMS, content=b"x", headers={"content-type": "text/plain"}), 415)


async def test_ids_that_are_too_long_or_hold_a_nul_are_refused(client: httpx2.AsyncClient) -> None:
    results = await add(
        client, {"id": "é" * 300, "text": "x"}, {"id": "a\0b", "text": "x"}, {"id": "é" * 256, "text": "x"}
    )
    assert [each.get("status") or each["error"]["code"] for each in results] == ["invalid_item"] * 2 + ["created"]


async def test_items_are_listed_by_id_page_by_page_and_filtered(client: httpx2.AsyncClient) -> None:
    names = ["b", "a", "é", "Z", "a/2"]
    await add(client, *[{"id": name, "text": name, "fields": {"year": len(name)}} for name in names])
    first = (await client.get(ITEMS, params={"limit": 3})).json()
    second = (await client.get(ITEMS, params={"limit": 3, "after": first["last_id"]})).json()
    assert [each["id"] for page in (first, second) for each in page["data"]] == ["Z", "a", "a/2", "b", "é"]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert [each["id"] for each in await listed(client, filter='{"year": {"gt": 1}}')] == ["a/2"]
    for wrong in ('{"colour": 1}', "{", '"x"'):
        refusal(await client.get(ITEMS, params={"filter": wrong}), 400 if wrong == "{" else 422)
    assert refusal(await client.get(ITEMS, params={"limit": 1001}), 422)["param"] == "limit"


async def test_items_are_looked_up_by_id(client: httpx2.AsyncClient) -> None:
    await add(client, {"id": "a", "text": "x", "fields": {"year": 1}})
    answer = (await client.post(f"{ITEMS}/lookup", json={"ids": ["b", "a", "a"]})).json()
    assert ([each["id"] for each in answer["data"]], answer["missing"]) == (["a"], ["b"])
    assert answer["data"][0]["fields"]["year"] == 1
    too_many = [str(n) for n in range(8)]
    assert refusal(await client.post(f"{ITEMS}/lookup", json={"ids": too_many}), 413)["param"] == "ids"


async def test_items_are_deleted_by_id_or_by_filter(client: httpx2.AsyncClient) -> None:
    await add(client, *[{"id": str(n), "text": str(n), "fields": {"year": n}} for n in range(5)])

    async def delete(body: dict[str, Any]) -> httpx2.Response:
        return await client.post(f"{ITEMS}/delete", json=body)

    assert (await delete({"ids": ["0", "nobody"]})).json() == {"deleted": 1}
    assert (await delete({"filter": {"year": {"gte": 3}}})).json() == {"deleted": 2}
    assert [each["id"] for each in await listed(client)] == ["1", "2"]
    nonsense: list[dict[str, Any]] = [{}, {"ids": ["1"], "filter": {"year": 1}}, {"filter": {}}, {"ids": []}]
    for wrong in nonsense:
        refusal(await delete(wrong), 422)
    assert refusal(await delete({"filter": {"colour": "red"}}), 422)["code"] == "invalid_filter"
    assert len(await listed(client)) == 2


async def test_a_failing_tower_fails_the_call_when_it_fails_every_item(
    client: httpx2.AsyncClient, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.failing = {"large_image"}
    refusal(await client.post(ITEMS, json={"items": [image_item("a", 1), image_item("b", 2)]}), 502)
    results = await add(client, image_item("a", 1), {"id": "words", "text": "x"})
    assert [each.get("status") or each["error"]["code"] for each in results] == ["backbone_failed", "created"]


async def test_items_of_a_gallery_that_is_not_there(client: httpx2.AsyncClient) -> None:
    url = f"{URL}/nobody/items"
    for response in (
        await client.get(url),
        await client.post(url, json={"items": [image_item("a", 1)]}),
        await client.post(f"{url}/lookup", json={"ids": ["a"]}),
        await client.post(f"{url}/delete", json={"ids": ["a"]}),
    ):
        assert refusal(response, 404)["param"] == "name"


async def test_what_became_of_items_is_counted(client: httpx2.AsyncClient) -> None:
    await add(client, image_item("a", 1), image_item("b", 2, colour="red"))
    await add(client, image_item("a", 1))
    metrics = (await client.get("/metrics")).text
    for change in ("created", "failed", "unchanged"):
        assert f'quorum_items_total{{change="{change}"}} 1.0' in metrics
