"""The embedded engine: ONNX Runtime sessions inside this process, reading the same files as Triton."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.deadline import Deadline
from service.engines.base import EngineObserver, Outcome, Row
from service.engines.workers import RunBatch, TowerWorkers
from service.errors import ConfigurationError, RepositoryError
from service.repository import ImageTower, TextTower, Zoo

INPUT_TYPES = {"tensor(uint8)": np.uint8, "tensor(int64)": np.int64}
ERRORS_ONLY = 3


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """`intra_op_threads` is per session; sessions of a tower are shared by its `instance_group.count` workers.

    `max_batch` bounds a batch besides the tower's own `max_batch_size`: what a GPU wants is too much for a core.
    """

    providers: tuple[str, ...]
    intra_op_threads: int
    max_batch: int


class OnnxEngine:
    """One session per tower, run by as many workers as its `instance_group` counts (`session.run` is thread-safe,
    so several workers share one copy of the weights)."""

    def __init__(self, zoo: Zoo, options: OnnxOptions, observer: EngineObserver) -> None:
        self._zoo = zoo
        self._options = options
        self._observer = observer
        self._workers: dict[str, TowerWorkers] = {}

    async def start(self) -> None:
        _check_providers(self._options.providers)
        towers = [tower for backbone in self._zoo.backbones for tower in (backbone.image, backbone.text)]
        # Two at a time: optimising a graph is mostly one core's work, and its peak memory is about twice the file.
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="load") as pool:
            loop = asyncio.get_running_loop()
            loaded = await asyncio.gather(*[loop.run_in_executor(pool, self._load, tower) for tower in towers])
        for tower, run_batch in zip(towers, loaded, strict=True):
            workers = TowerWorkers(
                tower.name,
                run_batch,
                count=tower.config.instances,
                max_batch=min(tower.config.max_batch_size, self._options.max_batch)
                if tower.config.dynamic_batching
                else 1,
                observer=self._observer,
            )
            workers.start()
            self._workers[tower.name] = workers

    async def embed(self, tower: str, rows: Sequence[Row], deadline: Deadline) -> list[Outcome]:
        return await self._workers[tower].embed(rows, deadline) if rows else []

    def problems(self) -> list[str]:
        found = [workers.problem() for workers in self._workers.values()]
        return [problem for problem in found if problem is not None]

    async def close(self) -> None:
        await asyncio.gather(*[asyncio.to_thread(workers.close) for workers in self._workers.values()])
        self._workers.clear()

    def _load(self, tower: ImageTower | TextTower) -> RunBatch:
        session = _open_session(tower, self._options)
        run_batch = _runner(session)
        _warm(tower, session, run_batch)
        return run_batch


def _check_providers(providers: tuple[str, ...]) -> None:
    available = ort.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise ConfigurationError(
                f"QUORUM_EXECUTION_PROVIDERS names {provider}, this ONNX Runtime has {', '.join(available)}. "
                "GPUs need the extra `gpu` instead of `cpu`."
            )


def _open_session(tower: ImageTower | TextTower, options: OnnxOptions) -> ort.InferenceSession:
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = options.intra_op_threads
    session_options.inter_op_num_threads = 1
    session_options.log_severity_level = ERRORS_ONLY
    # A spinning pool burns the cores that the other towers need.
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session_options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(tower.model_path), session_options, providers=list(options.providers))
    except Exception as error:  # the binding's exceptions have no public base class
        raise RepositoryError(f"{tower.model_path}: ONNX Runtime cannot load it: {error}") from error


def _runner(session: ort.InferenceSession) -> RunBatch:
    name = session.get_inputs()[0].name

    def run(batch: NDArray[np.generic]) -> NDArray[np.float32]:
        (embeddings,) = session.run(["embedding"], {name: batch})
        return np.asarray(embeddings)

    return run


def _warm(tower: ImageTower | TextTower, session: ort.InferenceSession, run_batch: RunBatch) -> None:
    """One row through the graph: what the configuration promises about its tensors is now known to be true."""
    expected: tuple[str, np.dtype[Any], list[int]]
    if isinstance(tower, ImageTower):
        size = tower.config.preprocessing.image_size
        expected = ("image", np.dtype(np.uint8), [size, size, 3])
    else:
        expected = ("input_ids", np.dtype(np.int64), [tower.config.context_length])
    name, dtype, shape = expected
    inputs = {tensor.name: INPUT_TYPES.get(tensor.type) for tensor in session.get_inputs()}
    if inputs != {name: dtype.type} or [tensor.name for tensor in session.get_outputs()] != ["embedding"]:
        raise RepositoryError(f'{tower.model_path}: needs one input "{name}" ({dtype}) and one output "embedding"')
    try:
        output = run_batch(np.zeros([1, *shape], dtype=dtype))
    except Exception as error:  # see _open_session
        raise RepositoryError(f"{tower.model_path}: fails on an input of shape {shape}: {error}") from error
    if output.shape != (1, tower.config.embedding_dim) or output.dtype != np.float32:
        raise RepositoryError(
            f"{tower.model_path}: gives {output.dtype}{list(output.shape)}, quorum.embedding_dim says "
            f"float32[1, {tower.config.embedding_dim}]"
        )
