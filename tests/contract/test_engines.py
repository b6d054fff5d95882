"""What every engine keeps, whichever executes the towers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from service.deadline import Deadline
from service.engines.base import Engine, Row
from service.engines.fake import FakeEngine
from service.engines.onnx import OnnxEngine, OnnxOptions
from service.engines.triton import TritonEngine, TritonOptions
from service.errors import DeadlineExceededError
from service.repository import Zoo
from tests.support.pipeline import Observations

TOWERS = [("small_image", 8), ("small_text", 8), ("large_image", 12), ("large_text", 12)]


@pytest.fixture(params=["fake", "onnx", "triton"])
async def engine(request: pytest.FixtureRequest, fake_zoo: Zoo) -> AsyncIterator[Engine]:
    engine = build(request, fake_zoo)
    await engine.start()
    yield engine
    await engine.close()


def build(request: pytest.FixtureRequest, zoo: Zoo) -> Engine:
    if request.param == "fake":
        return FakeEngine(zoo)
    if request.param == "onnx":
        return OnnxEngine(zoo, OnnxOptions(("CPUExecutionProvider",), intra_op_threads=1, max_batch=8), Observations())
    urls = (request.getfixturevalue("triton").address,)
    return TritonEngine(zoo, TritonOptions(urls, start_wait_s=30, max_rows=16), Observations())


def rows_for(tower: str, count: int) -> list[Row]:
    random = np.random.default_rng(0)
    if tower.endswith("_text"):
        return list(random.integers(0, 100, (count, 16), dtype=np.int64))
    size = 32 if tower.startswith("small") else 48
    return list(random.integers(0, 256, (count, size, size, 3), dtype=np.uint8))


@pytest.mark.parametrize(("tower", "width"), TOWERS)
async def test_embeddings_are_unit_rows_of_the_promised_width(engine: Engine, tower: str, width: int) -> None:
    outcomes = await engine.embed(tower, rows_for(tower, 5), Deadline.after(5))
    for outcome in outcomes:
        assert isinstance(outcome, np.ndarray)
        assert (outcome.shape, outcome.dtype.name) == ((width,), "float32")
        assert np.linalg.norm(outcome) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("tower", "_width"), TOWERS)
async def test_an_embedding_does_not_depend_on_the_other_rows(engine: Engine, tower: str, _width: int) -> None:
    rows = rows_for(tower, 9)
    together = await engine.embed(tower, rows, Deadline.after(5))
    alone = [(await engine.embed(tower, [row], Deadline.after(5)))[0] for row in rows]
    assert np.allclose(np.stack(together), np.stack(alone), atol=1e-6)  # type: ignore[arg-type]  # arrays, by the test above


async def test_concurrent_callers_get_their_own_rows(engine: Engine) -> None:
    rows = rows_for("small_image", 40)
    alone = await engine.embed("small_image", rows, Deadline.after(5))
    calls = [engine.embed("small_image", [row], Deadline.after(5)) for row in rows]
    for expected, (outcome,) in zip(alone, await asyncio.gather(*calls), strict=True):
        assert np.allclose(outcome, expected, atol=1e-6)  # type: ignore[arg-type]  # arrays, by the first test


async def test_no_rows_are_no_work(engine: Engine) -> None:
    assert await engine.embed("small_image", [], Deadline.after(5)) == []


async def test_a_started_engine_is_healthy(engine: Engine) -> None:
    assert engine.problems() == []


async def test_a_caller_who_leaves_leaves_the_engine_usable(engine: Engine) -> None:
    calls = [asyncio.create_task(engine.embed("large_image", rows_for("large_image", 64), Deadline.after(5)))] * 4
    await asyncio.sleep(0.01)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    (outcome,) = await engine.embed("large_image", rows_for("large_image", 1), Deadline.after(60))
    assert isinstance(outcome, np.ndarray)


async def test_after_the_deadline_every_row_says_so(engine: Engine) -> None:
    outcomes = await engine.embed("small_image", rows_for("small_image", 3), Deadline.after(-1))
    assert len(outcomes) == 3
    assert all(isinstance(outcome, np.ndarray | DeadlineExceededError) for outcome in outcomes)
