"""Embeddings of a committee, and what they keep of its members."""

from __future__ import annotations

import numpy as np
import pytest

from service.deadline import Deadline
from service.engines.fake import FakeEngine
from service.errors import BackboneFailedError, DeadlineExceededError, InvalidImageError
from service.pipeline.embed import Embedder, Floats, Image
from service.pipeline.embeddings import CommitteeEmbedder, EmbeddingQuery, Embeddings, Input, concatenated
from service.pipeline.logits import unit_rows
from service.repository import Zoo
from service.timings import Timings
from tests.support.images import jpeg


def unit(rows: int, width: int, seed: int) -> Floats:
    return unit_rows(np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32))


async def embed(embedder: Embedder, zoo: Zoo, *inputs: Input, deadline_s: float = 5.0) -> Embeddings:
    query = EmbeddingQuery(inputs, zoo.backbones, Deadline.after(deadline_s))
    return await CommitteeEmbedder(embedder).embed(query, Timings())


@pytest.mark.parametrize("widths", [(8,), (8, 12), (4, 4, 256)])
def test_cosines_of_the_committee_are_the_mean_of_its_members(widths: tuple[int, ...]) -> None:
    images = [unit(5, width, seed) for seed, width in enumerate(widths)]
    texts = [unit(3, width, seed + 10) for seed, width in enumerate(widths)]
    together, words = concatenated(images), concatenated(texts)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    mean = np.mean([image @ text.T for image, text in zip(images, texts, strict=True)], axis=0)
    np.testing.assert_allclose(together @ words.T, mean, atol=1e-6)


async def test_texts_and_images_meet_in_the_callers_order(embedder: Embedder, fake_zoo: Zoo) -> None:
    first, second = Image.of(jpeg(seed=1)), Image.of(jpeg(seed=2))
    inputs: list[Input] = ["a", first, "b", second, "a"]
    together = (await embed(embedder, fake_zoo, *inputs)).vectors
    for index, one in enumerate(inputs):
        np.testing.assert_array_equal((await embed(embedder, fake_zoo, one)).vectors[0], together[index])
    assert together.shape == (5, 20)


async def test_work_is_what_was_done_for_images(embedder: Embedder, fake_zoo: Zoo) -> None:
    image, same = Image.of(jpeg(seed=1)), Image.of(jpeg(seed=1))
    assert (await embed(embedder, fake_zoo, "a", image)).gflops == fake_zoo.gflops
    assert (await embed(embedder, fake_zoo, "b", same)).gflops == 0.0


async def test_tokens_are_counted_whether_a_text_is_known_or_not(embedder: Embedder, fake_zoo: Zoo) -> None:
    texts = [f"{index:03}" for index in range(300)]  # more than are tokenised at once
    for _ in range(2):
        assert (await embed(embedder, fake_zoo, *texts)).prompt_tokens == 2 * 3 * 300


async def test_the_first_broken_image_is_blamed(embedder: Embedder, fake_zoo: Zoo) -> None:
    inputs: list[Input] = ["a", Image.of(jpeg()), Image.of(b"no image"), Image.of(b"nor this")]
    with pytest.raises(InvalidImageError) as caught:
        await embed(embedder, fake_zoo, *inputs)
    assert caught.value.param == "input[2]"


async def test_a_failure_of_ours_blames_nothing(embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine) -> None:
    fake_engine.faults.failing = {"large_text"}
    with pytest.raises(BackboneFailedError) as caught:
        await embed(embedder, fake_zoo, Image.of(jpeg()), "a")
    assert (caught.value.param, caught.value.retry_after_s) == (None, 1.0)


async def test_nothing_is_waited_for_beyond_the_deadline(embedder: Embedder, fake_zoo: Zoo) -> None:
    for inputs in (("a",), (Image.of(jpeg()),)):
        with pytest.raises(DeadlineExceededError):
            await embed(embedder, fake_zoo, *inputs, deadline_s=0.0)
