"""A backbone that votes when asked: served like any other, and no member of the committee."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, classify, classify_one
from tests.support.images import jpeg
from tests.support.repository import DEFAULT_SPECS, Spec, write_repository


@pytest.fixture
async def client(make_app: MakeApp, serve: Serve, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    specs = [*DEFAULT_SPECS, Spec("variant", gflops=0.5, votes="when_asked")]
    repository = write_repository(tmp_path / "zoo", specs)
    async with serve(make_app(engine="fake", model_repository=repository)) as client:
        yield client


async def test_the_list_of_models_says_who_votes_when(client: httpx2.AsyncClient) -> None:
    *backbones, committee = (await client.get("/v1/models")).json()["data"]
    assert {model["id"]: model["votes"] for model in backbones} == {
        "small": "by_default",
        "variant": "when_asked",
        "large": "by_default",
    }
    assert (committee["backbones"], committee["gflops"]) == (["small", "large"], 1.75)


async def test_where_nobody_is_named_the_committee_answers_alone(client: httpx2.AsyncClient) -> None:
    result = await classify_one(client, jpeg(), labels=LABELS)
    assert list(result["backbones"]) == ["small", "large"]
    assert (result["gflops"], result["gflops_full"]) == (1.75, 1.75)


async def test_who_names_the_variant_is_answered_by_it(client: httpx2.AsyncClient) -> None:
    alone = await classify_one(client, jpeg(), labels=LABELS, policy="single", backbones=["variant"])
    assert (list(alone["backbones"]), alone["gflops"]) == (["variant"], 0.5)
    answer = await classify(client, jpeg(), labels=LABELS, backbones=["variant", "large"])
    assert list(answer["results"][0]["backbones"]) == ["variant", "large"]


async def test_a_label_set_is_encoded_for_it_as_well(client: httpx2.AsyncClient) -> None:
    shown = (await client.put("/v1/label-sets/pets", json={"labels": LABELS})).json()
    assert shown["backbones"]["variant"]["encoded"] is True


async def test_embeddings_of_the_committee_leave_it_out(client: httpx2.AsyncClient) -> None:
    async def width(model: str) -> int:
        answer = await client.post("/v1/embeddings", json={"model": model, "input": "a dog"})
        return len(answer.json()["data"][0]["embedding"])

    assert await width("committee") == 8 + 12
    assert await width("variant") == 8


async def test_a_gallery_holds_it_only_where_it_is_named(client: httpx2.AsyncClient) -> None:
    async def members(name: str, **fields: object) -> list[str]:
        shown = (await client.put(f"/v1/galleries/{name}", json=fields)).json()
        return [member["name"] for member in shown["backbones"]]

    assert await members("usual") == ["small", "large"]
    assert await members("own", backbones=["variant"]) == ["variant"]
