from __future__ import annotations

import asyncio

import numpy as np

from service.deadline import Deadline
from service.engines.fake import FakeEngine
from service.errors import BackboneFailedError, DeadlineExceededError
from service.pipeline.embed import Embedder
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.labels import LabelLimits, make_label_set
from service.repository import Zoo

PETS = make_label_set(["cat", "dog"], None, LabelLimits(10, 10, 10))


async def test_each_backbone_has_a_matrix_of_unit_rows(embedder: Embedder, fake_zoo: Zoo) -> None:
    matrices = await LabelMatrices(embedder, max_bytes=10_000).of(PETS, fake_zoo.backbones, Deadline.after(5))
    for backbone in fake_zoo.backbones:
        matrix = matrices[backbone.name]
        assert isinstance(matrix, np.ndarray)
        assert matrix.shape == (2, backbone.embedding_dim)
        assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)


async def test_callers_at_the_same_time_share_one_encoding(
    embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.delay_s = {"small_text": 0.05, "large_text": 0.05}
    matrices = LabelMatrices(embedder, max_bytes=10_000)
    await asyncio.gather(*[matrices.of(PETS, fake_zoo.backbones, Deadline.after(5)) for _ in range(10)])
    assert sorted(fake_engine.calls) == [("large_text", 2), ("small_text", 2)]


async def test_a_caller_without_time_leaves_and_the_work_is_there_for_the_next(
    embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.delay_s = {"small_text": 0.2}
    matrices = LabelMatrices(embedder, max_bytes=10_000)
    backbone = fake_zoo.backbones[0]
    early = await matrices.of(PETS, [backbone], Deadline.after(0.01))
    assert isinstance(early["small"], DeadlineExceededError)
    late = await matrices.of(PETS, [backbone], Deadline.after(5))
    assert isinstance(late["small"], np.ndarray)
    assert len(fake_engine.calls) == 1
    assert matrices.has(PETS, backbone)


async def test_a_failure_is_told_and_not_kept(embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine) -> None:
    fake_engine.faults.failing = {"small_text"}
    matrices = LabelMatrices(embedder, max_bytes=10_000)
    first = await matrices.of(PETS, fake_zoo.backbones, Deadline.after(5))
    assert isinstance(first["small"], BackboneFailedError)
    assert isinstance(first["large"], np.ndarray)
    fake_engine.faults.failing = set()
    second = await matrices.of(PETS, fake_zoo.backbones, Deadline.after(5))
    assert isinstance(second["small"], np.ndarray)


async def test_a_matrix_larger_than_the_cache_is_still_answered(embedder: Embedder, fake_zoo: Zoo) -> None:
    matrices = LabelMatrices(embedder, max_bytes=1)
    found = await matrices.of(PETS, fake_zoo.backbones, Deadline.after(5))
    assert isinstance(found["small"], np.ndarray)
    assert not matrices.has(PETS, fake_zoo.backbones[0])


async def test_closing_cancels_what_is_being_encoded(
    embedder: Embedder, fake_zoo: Zoo, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.delay_s = {"small_text": 30.0}
    matrices = LabelMatrices(embedder, max_bytes=10_000)
    await matrices.of(PETS, fake_zoo.backbones[:1], Deadline.after(0.01))
    async with asyncio.timeout(5):
        await matrices.close()
