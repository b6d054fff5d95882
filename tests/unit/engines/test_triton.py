"""The Triton engine beside a double of the server: what becomes of every kind of answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from service.deadline import Deadline
from service.engines.base import Row
from service.engines.triton import TritonEngine, TritonOptions
from service.errors import (
    BackboneFailedError,
    DeadlineExceededError,
    RepositoryError,
    ServiceError,
    UnavailableError,
)
from service.repository import Zoo
from tests.support.pipeline import Observations
from tests.support.triton_double import TritonDouble, answer_of, triton_double


@pytest.fixture
async def double(fake_zoo: Zoo) -> AsyncIterator[TritonDouble]:
    async with triton_double(fake_zoo) as double:
        yield double


@pytest.fixture
def seen() -> Observations:
    return Observations()


@pytest.fixture
async def engine(fake_zoo: Zoo, double: TritonDouble, seen: Observations) -> AsyncIterator[TritonEngine]:
    engine = TritonEngine(fake_zoo, TritonOptions((double.address,), start_wait_s=10, max_rows=8), seen)
    await engine.start()
    yield engine
    await engine.close()


def images(count: int) -> list[Row]:
    """Told apart by their first pixel."""
    rows = np.zeros((count, 32, 32, 3), dtype=np.uint8)
    rows[:, 0, 0, 0] = np.arange(count)
    return list(rows)


def first_pixels(request: service_pb2.ModelInferRequest) -> list[int]:
    pixels = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(tuple(request.inputs[0].shape))
    return [int(row[0, 0, 0]) for row in pixels]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, BackboneFailedError),
        (grpc.StatusCode.INTERNAL, BackboneFailedError),
        (grpc.StatusCode.UNKNOWN, BackboneFailedError),
        (grpc.StatusCode.NOT_FOUND, UnavailableError),
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, UnavailableError),
        (grpc.StatusCode.CANCELLED, UnavailableError),
        (grpc.StatusCode.UNIMPLEMENTED, UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceededError),
    ],
)
async def test_every_status_becomes_an_error_of_ours_that_names_the_tower(
    engine: TritonEngine, double: TritonDouble, code: grpc.StatusCode, error: type[ServiceError]
) -> None:
    double.answer = lambda _: code
    for outcome in await engine.embed("small_image", images(2), Deadline.after(5)):
        assert type(outcome) is error
        assert "small_image" in outcome.message
        assert "secret" not in outcome.message
        assert error is DeadlineExceededError or outcome.retry_after_s == 1.0


async def test_a_row_that_fails_does_not_fail_its_neighbours(engine: TritonEngine, double: TritonDouble) -> None:
    def allergic(request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse | grpc.StatusCode:
        return grpc.StatusCode.INTERNAL if 2 in first_pixels(request) else double.unit_rows(request)

    double.answer = allergic
    outcomes = await engine.embed("small_image", images(4), Deadline.after(5))
    assert [isinstance(outcome, BackboneFailedError) for outcome in outcomes] == [False, False, True, False]
    assert double.batches == [4, 1, 1, 1, 1]


async def test_a_row_of_another_shape_or_type_is_not_sent(engine: TritonEngine, double: TritonDouble) -> None:
    rows = [*images(1), np.zeros((8, 8, 3), dtype=np.uint8), np.zeros((32, 32, 3), dtype=np.float32)]
    outcomes = await engine.embed("small_image", rows, Deadline.after(5))
    assert [isinstance(outcome, BackboneFailedError) for outcome in outcomes] == [False, True, True]
    assert double.batches == [1]


async def test_numbers_that_are_none_are_that_rows_failure(engine: TritonEngine, double: TritonDouble) -> None:
    embeddings = np.eye(3, 8, dtype=np.float32)
    embeddings[1, 3] = np.nan
    double.answer = lambda _: answer_of(embeddings)
    outcomes = await engine.embed("small_image", images(3), Deadline.after(5))
    assert [isinstance(outcome, BackboneFailedError) for outcome in outcomes] == [False, True, False]


@pytest.mark.parametrize(
    "answer",
    [
        answer_of(np.eye(2, 7, dtype=np.float32)),
        answer_of(np.eye(3, 8, dtype=np.float32)),
        answer_of(np.eye(2, 8, dtype=np.float32), name="another"),
        answer_of(np.eye(2, 8, dtype=np.float64), datatype="FP64"),
        answer_of(np.eye(2, 8, dtype=np.float16)),
        service_pb2.ModelInferResponse(),
    ],
    ids=["narrow", "more rows", "name", "type", "too few bytes", "empty"],
)
async def test_an_answer_of_another_form_is_a_failure(
    engine: TritonEngine, double: TritonDouble, answer: service_pb2.ModelInferResponse
) -> None:
    double.answer = lambda _: answer
    outcomes = await engine.embed("small_image", images(2), Deadline.after(5))
    assert [type(outcome) for outcome in outcomes] == [BackboneFailedError] * 2


async def test_batches_are_as_large_as_may_be_on_their_way(
    engine: TritonEngine, double: TritonDouble, seen: Observations
) -> None:
    outcomes = await engine.embed("small_image", images(20), Deadline.after(5))
    assert all(isinstance(outcome, np.ndarray) for outcome in outcomes)
    assert sorted(double.batches) == [4, 8, 8]
    assert sorted(seen.batches) == [("small_image", rows) for rows in (4, 8, 8)]


async def test_of_two_servers_the_other_answers_for_one_that_cannot(fake_zoo: Zoo, double: TritonDouble) -> None:
    async with triton_double(fake_zoo) as other:
        options = TritonOptions((double.address, other.address), start_wait_s=10, max_rows=8)
        engine = TritonEngine(fake_zoo, options, Observations())
        await engine.start()
        await until_both_answer(engine, double, other)
        double.answer = lambda _: grpc.StatusCode.UNAVAILABLE
        for _ in range(4):
            (outcome,) = await engine.embed("small_image", images(1), Deadline.after(5))
            assert isinstance(outcome, np.ndarray)
        await engine.close()


async def until_both_answer(engine: TritonEngine, one: TritonDouble, other: TritonDouble) -> None:
    async with asyncio.timeout(20):
        while not (one.batches and other.batches):
            await engine.embed("small_image", images(1), Deadline.after(5))
            await asyncio.sleep(0.01)


async def test_a_server_with_other_towers_is_not_asked_where_another_is_right(
    fake_zoo: Zoo, double: TritonDouble
) -> None:
    double.configs["small_image"].parameters["quorum.sha256"].string_value = "0" * 64
    async with triton_double(fake_zoo) as right:
        options = TritonOptions((double.address, right.address), start_wait_s=10, max_rows=8)
        engine = TritonEngine(fake_zoo, options, Observations())
        await engine.start()
        for _ in range(6):
            (outcome,) = await engine.embed("small_image", images(1), Deadline.after(5))
            assert isinstance(outcome, np.ndarray)
        assert double.batches == []
        assert engine.problems() == []
        await engine.close()


async def test_a_model_that_is_replaced_under_the_connection_is_not_believed_for_long(
    engine: TritonEngine, double: TritonDouble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.engines.triton.connection.CHECK_EVERY_S", 0.0)
    right = double.configs["small_image"].parameters["quorum.sha256"].string_value
    double.configs["small_image"].parameters["quorum.sha256"].string_value = "f" * 64
    async with asyncio.timeout(20):
        while not isinstance((await engine.embed("small_image", images(1), Deadline.after(5)))[0], UnavailableError):
            await asyncio.sleep(0.05)
    (said,) = {record.getMessage() for record in caplog.records if record.levelname == "ERROR"}
    assert f": small_image: quorum.sha256 is {'f' * 64} on Triton at " in said
    assert right in said
    (other,) = await engine.embed("small_text", [np.zeros(16, dtype=np.int64)], Deadline.after(5))
    assert isinstance(other, np.ndarray), "the other towers are what they were"
    assert engine.problems() == [], "a restart would end the answers of the others too"


async def test_a_process_whose_every_tower_was_replaced_asks_to_be_restarted(
    engine: TritonEngine, double: TritonDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It read its repository once; a restart reads it again."""
    monkeypatch.setattr("service.engines.triton.connection.CHECK_EVERY_S", 0.0)
    for config in double.configs.values():
        config.parameters["quorum.sha256"].string_value = "f" * 64
    async with asyncio.timeout(20):
        while not engine.problems():
            await asyncio.sleep(0.05)
    assert len(engine.problems()) == len(double.configs)
    assert engine.problems()[0].startswith(f"small_image: quorum.sha256 is {'f' * 64} on Triton at ")


async def test_a_start_beside_a_server_without_a_tower_is_refused(fake_zoo: Zoo, double: TritonDouble) -> None:
    del double.configs["large_text"]
    engine = TritonEngine(fake_zoo, TritonOptions((double.address,), start_wait_s=10, max_rows=8), Observations())
    with pytest.raises(RepositoryError, match=r"large_text: .* has not loaded it"):
        await engine.start()


async def test_closing_fails_whoever_waits(fake_zoo: Zoo) -> None:
    arrived = asyncio.Event()

    class Stuck(TritonDouble):
        async def ModelInfer(  # noqa: N802  # the protocol's name
            self, request: service_pb2.ModelInferRequest, _: grpc.aio.ServicerContext
        ) -> service_pb2.ModelInferResponse:
            arrived.set()
            await asyncio.sleep(60)
            return self.unit_rows(request)

    async with triton_double(fake_zoo, Stuck) as stuck:
        engine = TritonEngine(fake_zoo, TritonOptions((stuck.address,), start_wait_s=10, max_rows=8), Observations())
        await engine.start()
        waiting = [asyncio.create_task(engine.embed("small_image", images(8), Deadline.after(60))) for _ in range(3)]
        await arrived.wait()
        (late,) = await engine.embed("small_image", images(1), Deadline.after(0.2))
        assert isinstance(late, DeadlineExceededError), "its turn never came"
        await engine.close()
        async with asyncio.timeout(5):
            for outcomes in await asyncio.gather(*waiting):
                assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 8


async def test_whoever_watches_learns_how_many_servers_are_connected(fake_zoo: Zoo) -> None:
    seen = Observations()
    async with triton_double(fake_zoo) as double:
        engine = TritonEngine(fake_zoo, TritonOptions((double.address,), start_wait_s=10, max_rows=8), seen)
        await engine.start()
        assert seen.servers[-1] == (1, 1)
    async with asyncio.timeout(20):
        while seen.servers[-1] != (0, 1):
            await asyncio.sleep(0.05)
    await engine.close()
