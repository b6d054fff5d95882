"""`/v1/galleries`: created, looked at, listed, deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from service.repository import load_zoo
from tests.conftest import MakeApp, Serve
from tests.support.gallery_api import FIELDS, URL, add, image_item, make, refusal
from tests.support.repository import Spec, write_repository
from tests.support.retrieval import ship


async def test_a_gallery_is_created_once_and_found_again(client: httpx2.AsyncClient) -> None:
    created = await client.put(f"{URL}/pictures", json={"fields": FIELDS})
    again = await client.put(f"{URL}/pictures", json={"fields": FIELDS})
    assert (created.status_code, again.status_code) == (201, 200)
    assert created.json() == again.json() == (await client.get(f"{URL}/pictures")).json()


async def test_a_gallery_says_what_it_is_and_how_it_is_searched(client: httpx2.AsyncClient) -> None:
    shown = await make(client)
    assert [(each["name"], each["width"]) for each in shown["backbones"]] == [("small", 8), ("large", 12)]
    assert (shown["prefix"], shown["metric"], shown["fields"]) == (["small"], "cosine", FIELDS)
    assert (shown["items"], shown["state"], shown["stale"]) == (0, "ready", None)
    assert shown["index"] == {"type": "FLAT", "params": {}, "exact": True}


async def test_it_counts_what_it_holds(client: httpx2.AsyncClient) -> None:
    await make(client)
    await add(client, image_item("a", 1), image_item("b", 2))
    assert (await client.get(f"{URL}/pictures")).json()["items"] == 2


@pytest.mark.parametrize(
    ("other", "blamed"),
    [
        ({"fields": {"shelf": "string"}}, "fields"),
        ({"fields": FIELDS, "backbones": ["large"]}, "backbones"),
        ({"fields": FIELDS, "prefix": ["large"]}, "prefix"),
        ({"fields": FIELDS, "metric": "ip"}, "metric"),
    ],
)
async def test_something_else_under_its_name_is_refused(
    client: httpx2.AsyncClient, other: dict[str, Any], blamed: str
) -> None:
    before = await make(client)
    error = refusal(await client.put(f"{URL}/pictures", json=other), 409)
    assert (error["code"], error["param"]) == ("gallery_differs", blamed)
    assert (await client.get(f"{URL}/pictures")).json() == before


async def test_galleries_are_listed_by_name_page_by_page(client: httpx2.AsyncClient) -> None:
    for name in ("b", "B.1", "a-c", "c"):
        await make(client, name)
    first = (await client.get(URL, params={"limit": 3})).json()
    second = (await client.get(URL, params={"limit": 3, "after": first["last_id"]})).json()
    assert [each["name"] for page in (first, second) for each in page["data"]] == ["B.1", "a-c", "b", "c"]
    assert (first["has_more"], second["has_more"]) == (True, False)


async def test_a_deleted_gallery_is_gone_with_its_items(client: httpx2.AsyncClient) -> None:
    await make(client)
    await add(client, image_item("a", 1))
    assert (await client.delete(f"{URL}/pictures")).status_code == 204
    error = refusal(await client.get(f"{URL}/pictures"), 404)
    assert "PUT /v1/galleries/pictures" in error["message"]
    assert (await make(client))["items"] == 0
    assert refusal(await client.delete(f"{URL}/nobody"), 404)["param"] == "name"


@pytest.mark.parametrize(
    ("definition", "status", "param"),
    [
        ({"backbones": ["huge"]}, 422, "backbones"),
        ({"backbones": ["small"], "prefix": ["large"]}, 422, "prefix"),
        ({"fields": {"Bad Name": "string"}}, 422, None),
        ({"fields": {"shelf": "text"}}, 422, None),
        ({"metric": "l2"}, 422, "metric"),
        ({"colour": "red"}, 422, "colour"),
        ({"fields": {f"f{n}": "string" for n in range(33)}}, 422, "fields"),
    ],
)
async def test_a_definition_that_makes_no_sense_is_refused(
    client: httpx2.AsyncClient, definition: dict[str, Any], status: int, param: str | None
) -> None:
    error = refusal(await client.put(f"{URL}/pictures", json=definition), status)
    assert param is None or error["param"] == param
    assert (await client.get(URL)).json()["data"] == []


async def test_a_definition_of_too_many_fields_is_refused_before_they_are_looked_at(
    client: httpx2.AsyncClient,
) -> None:
    error = refusal(await client.put(f"{URL}/pictures", json={"fields": {f"A{n}": 1 for n in range(1_001)}}), 422)
    assert "more than 1000 entries" in error["message"]


async def test_the_shipped_prefix_is_the_default(
    repository_copy: Path, make_app: MakeApp, fake_engine: FakeEngine, serve: Serve
) -> None:
    ship(repository_copy, load_zoo(repository_copy), prefix=("large",))
    async with serve(make_app(engine=fake_engine, model_repository=repository_copy)) as client:
        assert (await make(client))["prefix"] == ["large"]
        assert (await make(client, "alone", backbones=["small"]))["prefix"] == ["small"]


async def test_a_gallery_of_other_towers_is_stale_and_says_how_to_rebuild_it(
    tmp_path: Path, make_app: MakeApp, serve: Serve
) -> None:
    old = write_repository(tmp_path / "old", [Spec("small"), Spec("large")])
    new = write_repository(tmp_path / "new", [Spec("small", image_size=40), Spec("large")])
    async with serve(make_app(engine="fake", model_repository=old)) as client:
        await make(client)
        await add(client, image_item("a", 1))
    async with serve(make_app(engine="fake", model_repository=new)) as client:
        shown = (await client.get(f"{URL}/pictures")).json()
        assert '"small"' in shown["stale"]
        for path, body in (("search", {"queries": [{"text": "a"}]}), ("items", {"items": [image_item("b", 2)]})):
            error = refusal(await client.post(f"{URL}/pictures/{path}", json=body), 409)
            assert (error["code"], "quorum index pictures FOLDER --rebuild" in error["message"]) == (
                "gallery_stale",
                True,
            )
        assert (await client.delete(f"{URL}/pictures")).status_code == 204


async def test_galleries_outlive_the_process(make_app: MakeApp, serve: Serve) -> None:
    async with serve(make_app()) as client:
        before = await make(client)
        await add(client, image_item("a", 1, shelf="x"))
    async with serve(make_app()) as client:
        assert (await client.get(f"{URL}/pictures")).json() == before | {"items": 1}


async def test_a_server_without_galleries_says_so(make_app: MakeApp, serve: Serve) -> None:
    async with serve(make_app(galleries_url="off")) as client:
        for response in (await client.get(URL), await client.put(f"{URL}/a", json={}), await client.get(f"{URL}/a")):
            assert "QUORUM_GALLERIES_URL is off" in refusal(response, 503)["message"]
        assert (await client.get("/readyz")).status_code == 200
