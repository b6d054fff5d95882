"""`POST /v1/galleries/{name}/search`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from service.repository import load_zoo
from tests.conftest import MakeApp, Serve
from tests.support.gallery_api import URL, add, ids, image_item, make, refusal, search
from tests.support.images import as_base64, jpeg
from tests.support.retrieval import ship

SEARCH = f"{URL}/pictures/search"


@pytest.fixture
async def client(
    repository_copy: Path, make_app: MakeApp, fake_engine: FakeEngine, serve: Serve
) -> AsyncIterator[httpx2.AsyncClient]:
    """A gallery of six pictures and a text; the repository ships controllers."""
    ship(repository_copy, load_zoo(repository_copy))
    app = make_app(engine=fake_engine, model_repository=repository_copy, max_queries=4, max_images=8, max_top_k=50)
    async with serve(app) as client:
        await make(client)
        pictures = [image_item(f"p{seed}", seed, year=2000 + seed, shelf="ab"[seed % 2]) for seed in range(6)]
        await add(client, *pictures, {"id": "words", "text": "a cat"})
        yield client


def encoded(seed: int) -> str:
    return as_base64(jpeg(seed=seed))


async def test_pictures_words_items_and_embeddings_find_what_they_are(client: httpx2.AsyncClient) -> None:
    results = await search(client, {"image": encoded(3)}, {"text": "a cat"}, {"id": "p2"}, {"text": "nothing alike"})
    assert [ids(each)[0] for each in results[:2]] == ["p3", "words"]
    assert [each["hits"][0]["score"] for each in results[:2]] == pytest.approx([1, 1], abs=1e-5)
    assert "p2" not in ids(results[2])
    assert all(len(each["hits"]) == 7 - (index == 2) for index, each in enumerate(results))


async def test_a_mix_of_two_pictures_finds_both(client: httpx2.AsyncClient) -> None:
    parts = [{"image": encoded(3)}, {"id": "p5", "weight": 0.8}]
    (result,) = await search(client, {"mix": parts}, policy="mean")
    assert ids(result)[0] == "p3"
    (away,) = await search(client, {"mix": [{"text": "a cat"}, {"image": encoded(3), "weight": -1}]}, policy="mean")
    assert (ids(away)[0], ids(away)[-1]) == ("words", "p3")


async def test_a_result_says_who_was_asked_and_what_it_cost(client: httpx2.AsyncClient) -> None:
    (result,) = await search(client, {"text": "a dog"}, explain=True, top_k=2)
    assert (result["policy"], result["exit_reason"], result["stages"]) == ("nlc", "full", 1)
    assert result["controller"].startswith("retrieval@")
    assert result["backbones"] == ["small", "large"]
    assert sum(result["weights"].values()) == pytest.approx(1)
    assert (result["degraded"], result["failed"], result["confidence"]) == (False, [], None)
    assert result["gflops"] == pytest.approx(result["gflops_full"])
    for hit in result["hits"]:
        explicit = sum(result["weights"][name] * score for name, score in hit["scores"].items())
        assert hit["score"] == pytest.approx(explicit, abs=1e-5)
    (plain,) = await search(client, {"text": "a dog"})
    assert (plain["weights"], plain["hits"][0]["scores"]) == (None, None)


async def test_usage_adds_up(client: httpx2.AsyncClient) -> None:
    body = {"queries": [{"text": "a dog"}, {"text": "a dog"}, {"id": "p1"}]}
    answer = (await client.post(SEARCH, json=body)).json()
    usage = answer["usage"]
    assert (usage["queries"], usage["backbone_calls"]) == (3, {"small": 1, "large": 1})
    assert usage["gflops"] == pytest.approx(sum(each["gflops"] for each in answer["results"]))


async def test_policies_differ_and_single_asks_one(client: httpx2.AsyncClient) -> None:
    query = {"text": "a dog"}
    (single,) = await search(client, query, policy="single", backbones=["large"])
    (mean,) = await search(client, query, policy="mean")
    assert (single["backbones"], mean["backbones"]) == (["large"], ["small", "large"])
    assert single["hits"][0]["score"] != mean["hits"][0]["score"]


async def test_a_cascade_leaves_early_or_gives_the_full_answer(client: httpx2.AsyncClient) -> None:
    query = {"text": "a bird"}
    (sure,) = await search(client, query, policy="cascade", min_confidence=0)
    (unsure,) = await search(client, query, policy="cascade", min_confidence=1)
    (full,) = await search(client, query, policy="nlc")
    assert (sure["exit_reason"], sure["backbones"], sure["stages"]) == ("confident", ["small"], 1)
    assert (unsure["exit_reason"], unsure["stages"]) == ("escalated", 2)
    assert unsure["hits"] == full["hits"]
    assert sure["confidence"] == unsure["confidence"]


async def test_filters_hold_for_every_query(client: httpx2.AsyncClient) -> None:
    results = await search(client, {"image": encoded(3)}, {"id": "p1"}, filter={"shelf": "a", "year": {"gte": 2002}})
    assert [sorted(ids(each)) for each in results] == [["p2", "p4"], ["p2", "p4"]]
    (nothing,) = await search(client, {"text": "x"}, filter={"year": 1})
    assert nothing["hits"] == []


async def test_one_wrong_query_does_not_fail_its_neighbours(client: httpx2.AsyncClient) -> None:
    results = await search(client, {"text": " "}, {"image": "???"}, {"id": "nobody"}, {"text": "a cat"})
    assert [each.get("error", {}).get("code") for each in results] == [
        "invalid_text",
        "invalid_image",
        "not_found",
        None,
    ]
    assert [each["error"]["param"] for each in results[:3]] == [f"queries[{n}]" for n in range(3)]


async def test_a_single_wrong_query_is_the_calls_error(client: httpx2.AsyncClient) -> None:
    response = await client.post(SEARCH, json={"queries": [{"mix": [{"text": "a"}, {"embedding": [1.0]}]}]})
    error = refusal(response, 422)
    assert (error["code"], error["param"]) == ("invalid_item", "queries[0].mix[1]")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"queries": []}, 422, "queries"),
        ({"queries": [{}]}, 422, None),
        ({"queries": [{"text": "a", "id": "b"}]}, 422, None),
        ({"queries": [{"mix": [{"text": "a", "weight": 0}]}]}, 422, None),
        ({"queries": [{"mix": [{"text": "a", "weight": 1e9}]}]}, 422, None),
        ({"queries": [{"mix": []}]}, 422, None),
        ({"queries": [{"text": "a"}] * 5}, 413, "queries"),
        ({"queries": [{"mix": [{"image": "x"}] * 9}]}, 413, "queries"),
        ({"queries": [{"text": "a"}], "top_k": 51}, 422, "top_k"),
        ({"queries": [{"text": "a"}], "top_k": 0}, 422, "top_k"),
        ({"queries": [{"text": "a"}], "policy": "single"}, 422, None),
        ({"queries": [{"text": "a"}], "policy": "mean", "min_confidence": 0.5}, 422, None),
        ({"queries": [{"text": "a"}], "backbones": ["huge"]}, 422, "backbones"),
        ({"queries": [{"text": "a"}], "filter": {"colour": 1}}, 422, "filter"),
        ({"queries": [{"text": "a"}], "colour": 1}, 422, "colour"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(
    client: httpx2.AsyncClient, body: dict[str, Any], status: int, param: str | None
) -> None:
    error = refusal(await client.post(SEARCH, json=body), status)
    assert param is None or error["param"] == param


async def test_explaining_thousands_of_hits_is_refused(
    make_app: MakeApp, fake_engine: FakeEngine, serve: Serve
) -> None:
    async with serve(make_app(engine=fake_engine)) as client:
        await make(client)
        body = {"queries": [{"text": "a"}] * 5, "top_k": 1000, "explain": True}
        assert refusal(await client.post(SEARCH, json=body), 413)["param"] == "explain"


@pytest.mark.parametrize(
    "body",
    [
        {"queries": [{"id": "1"}] * 1_001},
        {"queries": [{"mix": [{"id": "1"}] * 17}]},
        {"queries": [{"text": "a"}], "filter": {f"f{n}": n for n in range(1_001)}},
        {"queries": [{"embedding": [True] * 20}]},
    ],
)
async def test_a_body_of_too_many_parts_is_refused_before_they_are_looked_at(
    client: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    error = refusal(await client.post(SEARCH, json=body), 422)
    assert "entries" in error["message"] or "number" in error["message"]


async def test_a_gallery_of_one_backbone_has_nobody_to_escalate_to(
    make_app: MakeApp, fake_engine: FakeEngine, serve: Serve
) -> None:
    async with serve(make_app(engine=fake_engine)) as client:
        await make(client, backbones=["small"])
        await add(client, image_item("a", 1))
        (result,) = await search(client, {"text": "a"}, policy="cascade", min_confidence=1)
        assert (result["exit_reason"], result["stages"], result["policy"]) == ("full", 1, "cascade")


async def test_all_hits_of_a_call_together_are_limited(
    make_app: MakeApp, fake_engine: FakeEngine, serve: Serve
) -> None:
    async with serve(make_app(engine=fake_engine, max_hits=20)) as client:
        await make(client)
        body = {"queries": [{"text": "a"}] * 3, "top_k": 7}
        assert refusal(await client.post(SEARCH, json=body), 413)["param"] == "top_k"
        assert (await client.post(SEARCH, json=body | {"top_k": 6})).status_code == 200


async def test_a_gallery_that_is_not_there(client: httpx2.AsyncClient) -> None:
    error = refusal(await client.post(f"{URL}/nobody/search", json={"queries": [{"text": "a"}]}), 404)
    assert "PUT /v1/galleries/nobody" in error["message"]


async def test_without_shipped_controllers_the_mean_answers_and_nlc_is_refused(
    make_app: MakeApp, fake_engine: FakeEngine, serve: Serve
) -> None:
    async with serve(make_app(engine=fake_engine)) as client:
        await make(client)
        await add(client, image_item("a", 1))
        (result,) = await search(client, {"text": "a"})
        assert (result["policy"], result["controller"]) == ("mean", None)
        for policy in ("nlc", "cascade"):
            body = {"queries": [{"text": "a"}], "policy": policy}
            assert refusal(await client.post(SEARCH, json=body), 409)["param"] == "policy"


async def test_a_backbone_that_fails_degrades_the_answer(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    fake_engine.faults.failing = {"large_text"}
    (result,) = await search(client, {"text": "a dog"})
    assert (result["degraded"], result["failed"], result["backbones"]) == (True, ["large"], ["small"])
    fake_engine.faults.failing = {"large_text", "small_text"}
    refusal(await client.post(SEARCH, json={"queries": [{"text": "a new dog"}, {"text": "another"}]}), 502)


async def test_searches_are_counted(client: httpx2.AsyncClient) -> None:
    await search(client, {"text": "a dog"}, {"id": "nobody"})
    metrics = (await client.get("/metrics")).text
    assert 'quorum_queries_total{exit_reason="full",policy="nlc"} 1.0' in metrics
    assert 'quorum_errors_total{code="not_found"} 1.0' in metrics
