"""Images that are asked about in several rounds: decoded once, by whoever wants them, in whatever geometry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL.Image import Image as Picture

from service.deadline import Deadline
from service.engines.fake import FakeEngine
from service.errors import BackboneFailedError, DeadlineExceededError, InvalidImageError
from service.model_config import Preprocessing
from service.pipeline import embed
from service.pipeline.embed import Embedded, Embedder, Image, ImageBatch, Prepared
from service.pipeline.inputs.decode import decode
from service.pipeline.inputs.preprocess import preprocess
from service.repository import Zoo
from service.timings import Timings
from tests.support.fitted import trio
from tests.support.images import jpeg
from tests.support.pipeline import Observations, embedder_on


class Work:
    """How often each picture was decoded, and which sizes were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded: Counter[bytes] = Counter()
        self.sizes: list[int] = []
        monkeypatch.setattr(embed, "decode", self._decode)
        monkeypatch.setattr(embed, "preprocess", self._preprocess)

    def _decode(self, data: bytes, *rest: Any) -> Picture:
        self.decoded[data] += 1
        return decode(data, *rest)

    def _preprocess(self, picture: Picture, preprocessing: Preprocessing) -> np.ndarray:
        self.sizes.append(preprocessing.image_size)
        return preprocess(picture, preprocessing)


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    """tiny and middle share a geometry, huge has one of its own."""
    return trio(tmp_path)


@pytest.fixture
def engine(zoo: Zoo) -> FakeEngine:
    return FakeEngine(zoo)


@pytest.fixture
def embedder(zoo: Zoo, engine: FakeEngine) -> Iterator[Embedder]:
    with embedder_on(zoo, engine, Observations()) as embedder:
        yield embedder


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


def batch(embedder: Embedder, zoo: Zoo, *data: bytes, seconds: float = 10.0) -> ImageBatch:
    return embedder.batch([Image.of(each) for each in data], zoo.backbones, Deadline.after(seconds), Timings())


def answers(given: object) -> dict[str, Embedded]:
    assert isinstance(given, dict)
    return given


async def test_three_rounds_decode_once_and_make_each_geometry_once(embedder: Embedder, zoo: Zoo, work: Work) -> None:
    images = batch(embedder, zoo, jpeg())
    for backbone in zoo.backbones:
        (given,) = (await images.ask({0: [backbone]})).values()
        assert list(answers(given)) == [backbone.name]
    assert work.decoded == {jpeg(): 1}
    assert work.sizes == [32, 48]


async def test_rounds_give_what_one_round_gives(zoo: Zoo) -> None:
    with (
        embedder_on(zoo, FakeEngine(zoo), Observations()) as one,
        embedder_on(zoo, FakeEngine(zoo), Observations()) as other,
    ):
        together = answers((await batch(one, zoo, jpeg()).ask({0: zoo.backbones}))[0])
        images = batch(other, zoo, jpeg())
        for backbone in reversed(zoo.backbones):
            alone = answers((await images.ask({0: [backbone]}))[0])[backbone.name]
            assert np.array_equal(np.asarray(alone.outcome), np.asarray(together[backbone.name].outcome))
            assert not alone.cached


async def test_only_those_who_are_asked_about_are_decoded(
    embedder: Embedder, zoo: Zoo, engine: FakeEngine, work: Work
) -> None:
    images = batch(embedder, zoo, jpeg(seed=1), jpeg(seed=2), jpeg(seed=3))
    tiny, _, huge = zoo.backbones
    assert set(await images.ask({0: [tiny], 2: [tiny, huge]})) == {0, 2}
    assert work.decoded == {jpeg(seed=1): 1, jpeg(seed=3): 1}
    assert engine.calls == [("tiny_image", 2), ("huge_image", 1)]
    await images.ask({1: [huge]})
    assert work.decoded.keys() == {jpeg(seed=1), jpeg(seed=2), jpeg(seed=3)}


async def test_a_picture_is_let_go_once_every_geometry_was_made(embedder: Embedder, zoo: Zoo) -> None:
    images = batch(embedder, zoo, jpeg())
    tiny, middle, huge = zoo.backbones
    held = []
    for backbone in (tiny, middle, huge):
        await images.ask({0: [backbone]})
        prepared = images._prepared[0]
        assert isinstance(prepared, Prepared)
        held.append(prepared.picture is not None)
    assert held == [True, True, False]


async def test_a_batch_of_one_geometry_holds_no_picture(embedder: Embedder, zoo: Zoo) -> None:
    images = embedder.batch([Image.of(jpeg())], zoo.backbones[:2], Deadline.after(10), Timings())
    await images.ask({0: [zoo.backbones[0]]})
    prepared = images._prepared[0]
    assert isinstance(prepared, Prepared)
    assert prepared.picture is None


async def test_what_a_round_finds_in_the_cache_is_not_decoded_for(embedder: Embedder, zoo: Zoo, work: Work) -> None:
    tiny, middle, huge = zoo.backbones
    await batch(embedder, zoo, jpeg()).ask({0: [tiny]})
    images = batch(embedder, zoo, jpeg())
    assert answers((await images.ask({0: [tiny]}))[0])["tiny"].cached
    assert work.decoded == {jpeg(): 1}, "by the first request alone"
    given = answers((await images.ask({0: [middle, huge]}))[0])
    assert [given[name].cached for name in ("middle", "huge")] == [False, False]
    assert work.decoded == {jpeg(): 2}


async def test_a_broken_image_is_found_once_and_its_neighbours_go_on(embedder: Embedder, zoo: Zoo, work: Work) -> None:
    images = batch(embedder, zoo, jpeg(), b"no image")
    tiny, _, huge = zoo.backbones
    for backbone in (tiny, huge):
        given = await images.ask({0: [backbone], 1: [backbone]})
        assert list(answers(given[0])) == [backbone.name]
        assert isinstance(given[1], InvalidImageError)
    assert work.decoded[b"no image"] == 1


async def test_who_knew_an_image_answers_though_there_is_no_time_to_decode_it(embedder: Embedder, zoo: Zoo) -> None:
    tiny, _, huge = zoo.backbones
    await batch(embedder, zoo, jpeg()).ask({0: [tiny]})
    given = answers((await batch(embedder, zoo, jpeg(), seconds=0.0).ask({0: [tiny, huge]}))[0])
    assert given["tiny"].cached
    assert isinstance(given["huge"].outcome, DeadlineExceededError)
    (unknown,) = (await batch(embedder, zoo, jpeg(seed=1), seconds=0.0).ask({0: [tiny, huge]})).values()
    assert isinstance(unknown, DeadlineExceededError)


async def test_a_backbone_that_fails_in_a_later_round_fails_alone(
    embedder: Embedder, zoo: Zoo, engine: FakeEngine
) -> None:
    images = batch(embedder, zoo, jpeg())
    tiny, middle, huge = zoo.backbones
    await images.ask({0: [tiny]})
    engine.faults.failing = {"huge_image"}
    given = answers((await images.ask({0: [middle, huge]}))[0])
    assert isinstance(given["huge"].outcome, BackboneFailedError)
    assert isinstance(given["middle"].outcome, np.ndarray)
