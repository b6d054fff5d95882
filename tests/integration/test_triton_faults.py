"""A real Triton server that is killed, stopped, emptied or exchanged behind a gateway that goes on.

Never a wrong embedding, never a caller held beyond its deadline, and the gateway is not restarted. How long a recovery
took is printed (`pytest -s`), not judged: it depends on the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.deadline import Deadline
from service.engines.base import Outcome, Row
from service.engines.onnx import OnnxEngine, OnnxOptions
from service.engines.triton import TritonEngine, TritonOptions
from service.engines.triton.connection import SILENT_AFTER_S
from service.errors import BackboneFailedError, UnavailableError
from service.model_config import parse_config, render_config
from service.repository import load_zoo
from tests.conftest import MakeApp, Serve
from tests.support.api import classify_call, classify_one, error_of
from tests.support.images import jpeg
from tests.support.pipeline import Observations
from tests.support.repository import CONTEXT_LENGTH
from tests.support.triton import TritonServer, replace_weights, triton_server

RECOVERY_LIMIT_S = 60.0
GRACE_S = 1.5
KNOWN_TOKENS = 300


@pytest.fixture
def server(faulty: TritonServer) -> TritonServer:
    faulty.start_if_down()
    return faulty


@pytest.fixture(scope="module")
def faulty(fake_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("faults")
    repository = Path(shutil.copytree(fake_repository, folder / "repository"))
    know_few_tokens(repository / "small_text")
    with triton_server(repository, folder, explicit=True) as server:
        yield server


def know_few_tokens(folder: Path) -> None:
    """A text tower with a table of tokens, on which an id beyond its end fails the whole batch."""
    width = 8
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["each"], axis=0),
        helper.make_node("ReduceMean", ["each"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("LpNormalization", ["mean"], ["embedding"], axis=-1, p=2),
    ]
    table = np.random.default_rng(1).standard_normal((KNOWN_TOKENS, width)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", CONTEXT_LENGTH])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    content, path = model.SerializeToString(), folder / "config.pbtxt"
    onnx.checker.check_model(model)
    (folder / "1/model.onnx").write_bytes(content)
    config = parse_config(path.read_text(encoding="utf-8"), str(path))
    path.write_text(render_config(replace(config, sha256=hashlib.sha256(content).hexdigest())), encoding="utf-8")


@pytest.fixture
async def engine(server: TritonServer) -> AsyncIterator[TritonEngine]:
    options = TritonOptions((server.address,), start_wait_s=30, max_rows=64)
    engine = TritonEngine(load_zoo(server.repository), options, Observations())
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
async def client(server: TritonServer, make_app: MakeApp, serve: Serve) -> AsyncIterator[httpx2.AsyncClient]:
    app = make_app(
        engine="triton", triton_urls=(server.address,), model_repository=server.repository, triton_start_wait_s=30
    )
    async with serve(app) as client:
        await classify_one(client, jpeg(seed=99))  # the labels are encoded by now
        yield client


def pictures(count: int) -> list[Row]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))


async def expected_of(server: TritonServer, rows: list[Row]) -> list[Outcome]:
    options = OnnxOptions(("CPUExecutionProvider",), intra_op_threads=1, max_batch=8)
    onnx_engine = OnnxEngine(load_zoo(server.repository), options, Observations())
    await onnx_engine.start()
    expected = await onnx_engine.embed("small_image", rows, Deadline.after(30))
    await onnx_engine.close()
    return expected


def say(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")


class Load:
    """Callers that never stop asking for `small_image`, each row checked against the embedded engine's."""

    def __init__(self, engine: TritonEngine, rows: list[Row], expected: list[Outcome], deadline_s: float) -> None:
        self.answered = self.refused = 0
        self.first_after_s: float | None = None
        self.longest_s = 0.0
        self.wrong: list[Outcome] = []
        self._engine, self._rows, self._expected, self._deadline_s = engine, rows, expected, deadline_s
        self._tasks = [asyncio.create_task(self._ask(index)) for index in range(8)]

    async def _ask(self, start: int) -> None:
        index = start
        while True:
            index = (index + 1) % len(self._rows)
            began_s = time.monotonic()
            (outcome,) = await self._engine.embed("small_image", [self._rows[index]], Deadline.after(self._deadline_s))
            self.longest_s = max(self.longest_s, time.monotonic() - began_s)
            self._judge(outcome, self._expected[index])
            await asyncio.sleep(0.01)

    def _judge(self, outcome: Outcome, expected: Outcome) -> None:
        if not isinstance(outcome, np.ndarray):
            self.refused += 1
            return
        self.answered += 1
        if not np.allclose(outcome, np.asarray(expected), atol=1e-5):
            self.wrong.append(outcome)

    async def until_answered(self) -> float:
        """Seconds until somebody is answered again."""
        began_s, before = time.monotonic(), self.answered
        async with asyncio.timeout(RECOVERY_LIMIT_S):
            while self.answered == before:
                await asyncio.sleep(0.01)
        return time.monotonic() - began_s

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


async def until(condition: Callable[[], Awaitable[bool]]) -> float:
    """Seconds until it holds."""
    began_s = time.monotonic()
    async with asyncio.timeout(RECOVERY_LIMIT_S):
        while not await condition():
            await asyncio.sleep(0.05)
    return time.monotonic() - began_s


async def single(client: httpx2.AsyncClient, backbone: str = "small", deadline_ms: int = 5_000) -> httpx2.Response:
    """One backbone alone, on an image that nobody has seen."""
    image = jpeg(seed=time.monotonic_ns() % 2**32)
    call = classify_call(image, policy="single", backbones=[backbone], deadline_ms=deadline_ms)
    return await client.post("/v1/classify", json=call)


async def test_a_server_that_is_killed_under_load_and_comes_back(server: TritonServer, engine: TritonEngine) -> None:
    rows = pictures(16)
    load = Load(engine, rows, await expected_of(server, rows), deadline_s=5.0)
    await load.until_answered()
    left_behind = server.instances()
    await asyncio.to_thread(server.kill)
    _, alive = psutil.wait_procs(left_behind, timeout=5)
    assert not alive
    assert server.shared_memory() == []
    await asyncio.sleep(0.5)
    refused = load.refused
    await asyncio.to_thread(server.start)
    seconds = await load.until_answered()
    await load.stop()
    say(f"killed and restarted: answered {seconds:.2f} s after it was ready; {load.answered=} {load.refused=}")
    assert refused > 0
    assert load.wrong == []
    assert load.longest_s < 5.0 + GRACE_S
    assert engine.problems() == [], "a server that is away is not this process' problem"


async def test_a_server_that_hangs_is_given_up_and_met_again(server: TritonServer, engine: TritonEngine) -> None:
    rows = pictures(16)
    load = Load(engine, rows, await expected_of(server, rows), deadline_s=30.0)
    await load.until_answered()
    server.send(signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        (short,) = await engine.embed("small_image", rows[:1], Deadline.after(0.5))
        assert not isinstance(short, np.ndarray)
        assert time.monotonic() - began_s < 0.5 + GRACE_S
        while not load.refused:
            await asyncio.sleep(0.05)
        noticed_s = time.monotonic() - began_s
        assert noticed_s < SILENT_AFTER_S + 3 * GRACE_S, "long before the callers' deadlines"
    finally:
        server.send(signal.SIGCONT)
    seconds = await load.until_answered()
    await load.stop()
    say(f"stopped: noticed after {noticed_s:.2f} s, answered {seconds:.2f} s after it went on")
    assert load.wrong == []


async def test_a_model_that_is_unloaded_degrades_and_returns(server: TritonServer, client: httpx2.AsyncClient) -> None:
    server.unload("small_image")
    result = await classify_one(client, jpeg(seed=1))
    assert (result["degraded"], list(result["backbones"])) == (True, ["large"])
    refused = await single(client)
    assert "small_image" in error_of(refused, 503, "unavailable")["message"]
    assert int(refused.headers["retry-after"]) >= 1
    assert (await client.get("/healthz")).status_code == 200
    server.load("small_image")

    async def is_back() -> bool:
        return (await single(client)).status_code == 200

    say(f"unloaded and loaded: answered after {await until(is_back):.2f} s")
    assert not (await classify_one(client, jpeg(seed=2)))["degraded"]


async def test_a_server_that_returns_with_other_weights_is_not_believed(
    server: TritonServer, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    kept = shutil.copytree(server.repository / "small_image", tmp_path / "small_image")
    await asyncio.to_thread(server.stop)
    error_of(await single(client), 503, "unavailable")
    assert (await client.get("/healthz")).status_code == 200
    replace_weights(server.repository, "small_image")
    await asyncio.to_thread(server.start)

    async def is_found_out() -> bool:
        return "another small_image" in error_of(await single(client), 503, "unavailable")["message"]

    try:
        say(f"other weights: refused from the first call on, named after {await until(is_found_out):.2f} s")
        assert (await classify_one(client, jpeg(seed=3)))["degraded"]
        assert (await client.get("/healthz")).status_code == 200, "a restart would end the other backbone's answers too"
    finally:
        shutil.rmtree(server.repository / "small_image")
        shutil.copytree(kept, server.repository / "small_image")
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)

    async def is_mended() -> bool:
        return (await single(client)).status_code == 200

    await until(is_mended)


async def test_an_instance_that_dies_fails_its_rows_and_nobody_else(
    server: TritonServer, client: httpx2.AsyncClient
) -> None:
    """Triton neither replaces it nor says so in its health; only a restart of the server brings the tower back."""
    instances = server.instances("small_image")
    assert len(instances) == 2
    for instance in instances:
        instance.kill()
    error_of(await single(client, deadline_ms=10_000), 502, "backbone_failed")
    result = await classify_one(client, jpeg(seed=4), deadline_ms=10_000)
    assert (result["degraded"], list(result["backbones"])) == (True, ["large"])
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)

    async def is_back() -> bool:
        return (await single(client)).status_code == 200

    await until(is_back)


async def test_a_row_that_fails_a_batch_of_several_callers_fails_alone(engine: TritonEngine) -> None:
    good = [np.full(CONTEXT_LENGTH, token, dtype=np.int64) for token in range(24)]
    bad = np.full(CONTEXT_LENGTH, KNOWN_TOKENS + 1, dtype=np.int64)
    calls = [
        engine.embed("small_text", [*good[start : start + 3], bad], Deadline.after(20)) for start in range(0, 24, 3)
    ]
    for outcomes in await asyncio.gather(*calls):
        assert [type(outcome) for outcome in outcomes] == [np.ndarray] * 3 + [BackboneFailedError]


async def test_a_damaged_file_is_not_loaded(server: TritonServer, engine: TritonEngine) -> None:
    path = server.repository / "large_image/1/model.onnx"
    content = path.read_bytes()
    server.unload("large_image")
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    url = f"http://127.0.0.1:{server.http}/v2/repository/models/large_image/load"
    response = await asyncio.to_thread(httpx2.post, url, json={}, timeout=60.0)
    path.write_bytes(content)
    assert response.status_code != 200
    assert "quorum.sha256" in response.text
    (outcome,) = await engine.embed("large_image", [np.zeros((48, 48, 3), dtype=np.uint8)], Deadline.after(5))
    assert isinstance(outcome, UnavailableError)
    await asyncio.to_thread(server.load, "large_image")


async def test_a_caller_that_leaves_takes_its_work_off_the_server(server: TritonServer, engine: TritonEngine) -> None:
    rows = [np.zeros((48, 48, 3), dtype=np.uint8)] * 64
    calls = [asyncio.create_task(engine.embed("large_image", rows, Deadline.after(30))) for _ in range(40)]
    await asyncio.sleep(0.02)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    began_s = time.monotonic()
    (outcome,) = await engine.embed("large_image", rows[:1], Deadline.after(10))
    assert isinstance(outcome, np.ndarray)
    assert time.monotonic() - began_s < 5.0
    assert executed_rows(server, "large_image") < 40 * 64


def executed_rows(server: TritonServer, model: str) -> int:
    url = f"http://127.0.0.1:{server.http}/v2/models/{model}/stats"
    return int(httpx2.get(url, timeout=10.0).json()["model_stats"][0]["inference_count"])
