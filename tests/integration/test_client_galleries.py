"""The client's calls about galleries with the real application behind them: both sides mean the same by every field."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from service.api.gallery_schemas import ItemFailure, ItemResult, SearchFailure, SearchResult
from service.client import ApiError, AsyncQuorumClient, ById, Embedding, Item, Mix, Query
from service.engines.fake import FakeEngine
from tests.conftest import MakeApp
from tests.support.images import jpeg

ODD = 'Käse/犬 "%22\\.jpg'


@pytest.fixture
async def quorum(make_app: MakeApp, fake_engine: FakeEngine, tmp_path: Path) -> AsyncIterator[AsyncQuorumClient]:
    app = make_app(engine=fake_engine, galleries_url=str(tmp_path / "galleries.db"))
    async with (
        app.router.lifespan_context(app),
        AsyncQuorumClient("http://test", transport=httpx2.ASGITransport(app)) as client,
    ):
        yield client


async def filled(quorum: AsyncQuorumClient) -> AsyncQuorumClient:
    await quorum.create_gallery("shop", fields={"year": "integer", "seen": "boolean"})
    items = [Item(f"{number}.jpg", jpeg(seed=number), {"year": 2020 + number}) for number in range(3)]
    answer = await quorum.add_items("shop", items, deadline_ms=30_000)
    assert [each.status for each in answer.results if isinstance(each, ItemResult)] == ["created"] * 3
    return quorum


def best(found: SearchResult | SearchFailure) -> list[str]:
    assert isinstance(found, SearchResult)
    return [hit.id for hit in found.hits]


async def test_a_gallery_lives_from_put_to_delete(quorum: AsyncQuorumClient) -> None:
    created = await quorum.create_gallery("shop", backbones=["small"], metric="ip", fields={"year": "integer"})
    assert ([member.name for member in created.backbones], created.metric, created.items) == (["small"], "ip", 0)
    again = await quorum.create_gallery("shop", backbones=["small"], metric="ip", fields={"year": "integer"})
    assert again.created_at == created.created_at
    with pytest.raises(ApiError) as caught:
        await quorum.create_gallery("shop")
    assert (caught.value.status, caught.value.code) == (409, "gallery_differs")
    await quorum.create_gallery("attic")
    assert [each.name async for each in quorum.list_galleries(page_size=1)] == ["attic", "shop"]
    await quorum.delete_gallery("shop")
    with pytest.raises(ApiError) as caught:
        await quorum.gallery("shop")
    assert caught.value.code == "not_found"


async def test_items_of_every_kind_are_added_looked_up_and_deleted(quorum: AsyncQuorumClient, tmp_path: Path) -> None:
    await filled(quorum)
    file = tmp_path / "x.jpg"
    file.write_bytes(jpeg(seed=9))
    vector = (await quorum.embed(["a red dress"])).vectors[0]
    mixed = [
        Item(ODD, file, {"seen": True}),
        Item("words", "a red dress"),
        Item("ready", Embedding(vector, "text")),
        Item("broken", b"no image"),
        Item("wide", Embedding([1.0, 2.0])),
        Item("wrong", "a", {"year": "soon"}),
    ]
    results = (await quorum.add_items("shop", mixed)).results
    assert [type(each) for each in results] == [ItemResult] * 3 + [ItemFailure] * 3
    again = (await quorum.add_items("shop", mixed[:3])).results
    assert [each.status for each in again if isinstance(each, ItemResult)] == ["unchanged"] * 3
    found = await quorum.look_up_items("shop", [ODD, "ready", "broken"])
    assert [(each.id, each.modality) for each in found.data] == [(ODD, "image"), ("ready", "text")]
    assert found.data[0].fields == {"year": None, "seen": True}
    assert found.missing == ["broken"]
    assert [each.id async for each in quorum.list_items("shop", filter={"year": {"gte": 2021}}, page_size=1)] == [
        "1.jpg",
        "2.jpg",
    ]
    assert await quorum.delete_items("shop", [ODD, "broken"]) == 1
    assert await quorum.delete_items("shop", filter={"year": 2021}) == 1
    assert [each.id async for each in quorum.list_items("shop")] == ["0.jpg", "2.jpg", "ready", "words"]


async def test_every_kind_of_query_is_answered(quorum: AsyncQuorumClient, tmp_path: Path) -> None:
    await filled(quorum)
    file = tmp_path / "x.jpg"
    file.write_bytes(jpeg(seed=1))
    vector = (await quorum.embed([file])).vectors[0]
    queries: list[Query] = [
        "a red dress",
        file,
        ById("1.jpg"),
        Embedding(vector, "image"),
        Mix([(file, 1.0), ("a dress", -0.1)]),
    ]
    answer = await quorum.search("shop", [*queries, ById("nobody")], top_k=2, explain=True, policy="mean")
    *good, failed = answer.results
    words, image, item, ready, mix = map(best, good)
    assert (len(words), image[0], ready[0], mix[0]) == (2, "1.jpg", "1.jpg", "1.jpg")
    assert "1.jpg" not in item
    assert isinstance(failed, SearchFailure)
    assert failed.error.param == "queries[5]"
    filtered = await quorum.search("shop", file, filter={"year": [2020, 2022]}, policy="single", backbones=["small"])
    assert sorted(best(filtered.results[0])) == ["0.jpg", "2.jpg"]
    with pytest.raises(ApiError) as caught:
        await quorum.search("shop", "a", filter={"yaer": 1})
    assert caught.value.code == "invalid_filter"
