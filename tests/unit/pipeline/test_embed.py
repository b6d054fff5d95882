from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from service.deadline import Deadline, deadline_error
from service.engines.base import Outcome, Row
from service.engines.fake import FakeEngine
from service.errors import BackboneFailedError, DeadlineExceededError, InternalError, InvalidImageError, QuorumError
from service.model_config import Preprocessing
from service.pipeline import embed
from service.pipeline.embed import Embedded, Embedder, Image
from service.pipeline.inputs.decode import decode
from service.pipeline.inputs.preprocess import preprocess
from service.repository import Zoo
from service.timings import Timings
from tests.support.images import jpeg
from tests.support.pipeline import Observations

Results = list[dict[str, Embedded] | QuorumError]


async def embed_images(embedder: Embedder, zoo: Zoo, *data: bytes, deadline_s: float = 5.0) -> Results:
    images = [Image.of(each) for each in data]
    return await embedder.embed_images(images, zoo.backbones, Deadline.after(deadline_s), Timings())


def outcomes(result: dict[str, Embedded] | QuorumError) -> dict[str, Any]:
    assert isinstance(result, dict)
    return {name: embedded.outcome for name, embedded in result.items()}


async def test_every_backbone_embeds_every_image(embedder: Embedder, fake_zoo: Zoo) -> None:
    results = await embed_images(embedder, fake_zoo, jpeg(seed=1), jpeg(seed=2))
    assert [{name: row.shape for name, row in outcomes(result).items()} for result in results] == [
        {"small": (8,), "large": (12,)}
    ] * 2


async def test_a_known_image_is_neither_decoded_nor_embedded_again(
    embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = await embed_images(embedder, fake_zoo, jpeg())
    calls = list(fake_engine.calls)
    monkeypatch.setattr(embed, "decode", None)
    (second,) = await embed_images(embedder, fake_zoo, jpeg())
    assert isinstance(second, dict)
    assert fake_engine.calls == calls
    assert all(embedded.cached for embedded in second.values())
    assert all(np.array_equal(outcomes(first)[name], row) for name, row in outcomes(second).items())


async def test_a_backbone_that_failed_is_asked_again(
    embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine, observations: Observations
) -> None:
    fake_engine.faults.failing = {"large_image"}
    (first,) = await embed_images(embedder, fake_zoo, jpeg())
    assert isinstance(outcomes(first)["large"], BackboneFailedError)
    fake_engine.faults.failing = set()
    (second,) = await embed_images(embedder, fake_zoo, jpeg())
    assert isinstance(second, dict)
    assert (second["small"].cached, second["large"].cached) == (True, False)
    assert (observations.hits, observations.misses) == (1, 3)
    assert sorted(observations.rows) == [
        ("large_image", "answered"),
        ("large_image", "backbone_failed"),
        ("small_image", "answered"),
    ]


async def test_broken_image_does_not_fail_its_neighbours(embedder: Embedder, fake_zoo: Zoo) -> None:
    good, broken, also_good = await embed_images(embedder, fake_zoo, jpeg(seed=1), b"no image", jpeg(seed=2))
    assert isinstance(broken, InvalidImageError)
    assert outcomes(good).keys() == outcomes(also_good).keys() == {"small", "large"}


async def test_a_bug_in_the_decoder_costs_one_image_and_tells_nothing(
    embedder: Embedder, fake_zoo: Zoo, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    def buggy(data: bytes, *rest: Any) -> Pillow.Image:
        if data == b"poison":
            raise ZeroDivisionError("secret")
        return decode(data, *rest)

    monkeypatch.setattr(embed, "decode", buggy)
    poisoned, good = await embed_images(embedder, fake_zoo, b"poison", jpeg())
    assert isinstance(poisoned, InternalError)
    assert "secret" not in poisoned.message
    assert "secret" in caplog.text
    assert isinstance(good, dict)


async def test_a_slow_backbone_does_not_hold_up_the_others_answer(
    embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.delay_s["large_image"] = 30.0
    async with asyncio.timeout(5):
        (result,) = await embed_images(embedder, fake_zoo, jpeg(), deadline_s=0.2)
    assert isinstance(outcomes(result)["large"], DeadlineExceededError)
    assert isinstance(outcomes(result)["small"], np.ndarray)


async def test_an_image_that_is_not_decoded_in_time_is_late(embedder: Embedder, fake_zoo: Zoo) -> None:
    (result,) = await embed_images(embedder, fake_zoo, jpeg(), deadline_s=0.0)
    assert isinstance(result, DeadlineExceededError)


async def test_backbones_of_one_geometry_share_one_tensor(
    embedder: Embedder, fake_zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = [fake_zoo.backbones[0], fake_zoo.backbones[0]]
    made = []

    def counted(picture: Pillow.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        made.append(preprocessing)
        return preprocess(picture, preprocessing)

    monkeypatch.setattr(embed, "preprocess", counted)
    await embedder.embed_images([Image.of(jpeg())], twice, Deadline.after(5), Timings())
    assert len(made) == 1


async def test_texts_are_embedded_once(embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine) -> None:
    tower = fake_zoo.backbones[0].text
    first = await embedder.embed_texts(["a cat", "a dog", "a cat"], tower, Deadline.after(5))
    second = await embedder.embed_texts(["a dog"], tower, Deadline.after(5))
    assert fake_engine.calls == [("small_text", 2)]
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(first[1], second[0])


async def test_a_failing_text_tower_fails_the_call(embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine) -> None:
    fake_engine.faults.failing = {"small_text"}
    with pytest.raises(BackboneFailedError):
        await embedder.embed_texts(["a cat"], fake_zoo.backbones[0].text, Deadline.after(5))


async def test_texts_that_were_embedded_before_a_failure_are_kept(
    embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower, real = fake_zoo.backbones[0].text, fake_engine.embed

    async def only_the_first(name: str, rows: Sequence[Row], deadline: Deadline) -> list[Outcome]:
        return [*await real(name, rows[:1], deadline), *[deadline_error("testing")] * (len(rows) - 1)]

    monkeypatch.setattr(fake_engine, "embed", only_the_first)
    for _ in range(2):
        with pytest.raises(DeadlineExceededError):
            await embedder.embed_texts(["a cat", "a dog", "a bird"], tower, Deadline.after(5))
    assert (await embedder.embed_texts(["a cat", "a dog", "a bird"], tower, Deadline.after(5))).shape == (3, 8)
