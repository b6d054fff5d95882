from __future__ import annotations

import numpy as np
import pytest

from service.deadline import Deadline
from service.engines.fake import FakeEngine
from service.errors import BackboneFailedError, InvalidImageError, InvalidTextError, QuorumError
from service.pipeline.embed import Embedder, Image
from service.pipeline.retrieval.galleries import Ready
from service.pipeline.retrieval.ingest import Added, Content, Ingester, IngestQuery, NewItem, distinct_ids
from service.repository import Zoo
from service.timings import Timings
from tests.support.galleries import MemoryGalleries, spec_of
from tests.support.images import jpeg


class Ingest:
    def __init__(self, embedder: Embedder, zoo: Zoo) -> None:
        self.store = MemoryGalleries()
        self.spec = spec_of(zoo, fields={"shelf": "string"})
        self._zoo = zoo
        self._ingester = Ingester(embedder, self.store)

    async def add(self, **contents: Content | QuorumError) -> Added:
        return await self.add_with("a", **contents)

    async def add_with(self, shelf: str, **contents: Content | QuorumError) -> Added:
        items = tuple(
            each if isinstance(each, QuorumError) else NewItem(name, each, {"shelf": shelf})
            for name, each in contents.items()
        )
        query = IngestQuery(self.spec, self._zoo.backbones, items, Deadline.after(5))
        return await self._ingester.add(query, Timings())

    @property
    def kept(self) -> set[str]:
        return set(self.store.contents.get(self.spec.name, {}))


@pytest.fixture
def ingest(embedder: Embedder, fake_zoo: Zoo) -> Ingest:
    return Ingest(embedder, fake_zoo)


def picture(seed: int) -> Image:
    return Image.of(jpeg(seed=seed))


async def test_an_item_holds_the_embeddings_of_all_backbones_side_by_side(
    ingest: Ingest, embedder: Embedder, fake_zoo: Zoo
) -> None:
    added = await ingest.add(cat=picture(1), words="a cat")
    assert added.outcomes == ("created", "created")
    assert added.calls == {"small": 2, "large": 2}
    (seen,) = await embedder.embed_images([picture(1)], fake_zoo.backbones, Deadline.after(5), Timings())
    assert isinstance(seen, dict)
    expected = np.concatenate([np.asarray(seen[name].outcome) for name in fake_zoo.names])
    item = ingest.store.contents["pictures"]["cat"]
    assert np.array_equal(item.embedding, expected)
    assert (item.about.modality, item.about.digest) == ("image", picture(1).digest)
    assert ingest.store.contents["pictures"]["words"].about.modality == "text"


async def test_what_is_there_already_is_not_embedded_again(ingest: Ingest, fake_engine: FakeEngine) -> None:
    await ingest.add(cat=picture(1))
    calls = len(fake_engine.calls)
    added = await ingest.add(cat=picture(1))
    assert (added.outcomes, added.gflops) == (("unchanged",), 0)
    assert len(fake_engine.calls) == calls


async def test_other_content_or_other_fields_replace_an_item(ingest: Ingest) -> None:
    await ingest.add(cat=picture(1), dog=picture(2))
    assert (await ingest.add(cat=picture(3))).outcomes == ("updated",)
    assert (await ingest.add_with("b", dog=picture(2))).outcomes == ("updated",)
    assert ingest.store.contents["pictures"]["dog"].about.fields == {"shelf": "b"}


async def test_a_broken_item_does_not_fail_its_neighbours(ingest: Ingest) -> None:
    added = await ingest.add(good=picture(1), broken=Image.of(b"no image"), wrong=InvalidTextError("Empty."), words="x")
    assert added.outcomes[0] == added.outcomes[3] == "created"
    assert isinstance(added.outcomes[1], InvalidImageError)
    assert isinstance(added.outcomes[2], InvalidTextError)
    assert ingest.kept == {"good", "words"}


async def test_a_call_that_stores_nothing_waits_for_no_writer(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    await ingest.add(cat=picture(1))
    monkeypatch.setattr(ingest.store, "upsert", None)
    assert (await ingest.add(cat=picture(1))).outcomes == ("unchanged",)
    assert isinstance((await ingest.add(broken=Image.of(b"no image"))).outcomes[0], InvalidImageError)


async def test_half_a_committees_embedding_is_not_kept(ingest: Ingest, fake_engine: FakeEngine) -> None:
    fake_engine.faults.failing = {"large_image"}
    added = await ingest.add(cat=picture(1), words="a cat")
    assert isinstance(added.outcomes[0], BackboneFailedError)
    assert added.outcomes[1] == "created"
    assert ingest.kept == {"words"}


async def test_a_ready_embedding_is_kept_as_it_is_and_costs_nothing(ingest: Ingest, fake_engine: FakeEngine) -> None:
    embedding = np.ones(ingest.spec.width, dtype=np.float32)
    added = await ingest.add(ready=Ready(embedding, "ab" * 32, "unknown"))
    assert (added.outcomes, added.gflops, fake_engine.calls) == (("created",), 0, [])
    assert np.array_equal(ingest.store.contents["pictures"]["ready"].embedding, embedding)


async def test_costs_count_images_and_texts_by_their_own_towers(ingest: Ingest, fake_zoo: Zoo) -> None:
    added = await ingest.add(cat=picture(1), words="a cat")
    texts = sum(backbone.text.config.gflops for backbone in fake_zoo.backbones)
    assert added.gflops == pytest.approx(fake_zoo.gflops + texts)


def test_the_first_id_that_comes_twice_is_named() -> None:
    assert distinct_ids(["a", "b", "c", "b", "a"]) == "a"
    assert distinct_ids(["a", "b"]) is None
