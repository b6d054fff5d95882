"""Embeddings by Triton: rows become batches, batches become calls, and every row gets its own outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from service.deadline import Deadline
from service.engines.base import EngineObserver, Outcome, Row
from service.engines.triton.budget import RowBudget
from service.engines.triton.checks import VERSION
from service.engines.triton.connection import Connection
from service.engines.triton.errors import failed, late
from service.engines.triton.servers import Servers
from service.errors import BackboneFailedError, QuorumError, RepositoryError, UnavailableError
from service.repository import ImageTower, TextTower, Zoo

log = logging.getLogger(__name__)

FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """`max_rows` bounds the rows of one tower that are on their way to all servers together."""

    urls: tuple[str, ...]
    start_wait_s: float
    max_rows: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tower's input as Triton names it; `width` is the embedding's."""

    name: str
    datatype: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    width: int
    max_rows: int


class TritonObserver(EngineObserver, Protocol):
    def triton_servers(self, connected: int, known: int) -> None: ...


class TritonEngine:
    def __init__(self, zoo: Zoo, options: TritonOptions, observer: TritonObserver) -> None:
        towers = {tower.name: tower for backbone in zoo.backbones for tower in (backbone.image, backbone.text)}
        self._options = options
        self._observer = observer
        self._servers = Servers(options.urls, towers, observer.triton_servers)
        self._tensors = {name: _tensor(tower, options.max_rows) for name, tower in towers.items()}
        self._budgets = {name: RowBudget(options.max_rows) for name in towers}

    async def start(self) -> None:
        """Wait for servers, for at most `start_wait_s`, and go on without those that are away: they may come later.

        Raises `RepositoryError` when a server has other towers than this repository, or all are there and none has one.
        """
        await self._servers.start(self._options.start_wait_s)
        places = " or ".join(self._options.urls)
        wrong = self._servers.differences()
        if self._servers.all_reached():  # else those that were not may run what is missed: towers can lie in pools
            wrong += [f"{tower}: Triton at {places} has not loaded it" for tower in self._servers.missing()]
        if wrong:
            await self.close()
            raise RepositoryError(wrong[0])
        if without := self._servers.without():
            log.warning("No server at %s runs %s yet: answers go without until one does", places, ", ".join(without))

    async def embed(self, tower: str, rows: Sequence[Row], deadline: Deadline) -> list[Outcome]:
        """A row of another shape or type than the tower takes is that row's failure, and is not sent."""
        tensor = self._tensors[tower]
        outcomes: list[Outcome] = [failed(tower)] * len(rows)
        fit = [index for index, row in enumerate(rows) if row.shape == tensor.shape and row.dtype == tensor.dtype]
        parts = [fit[start : start + tensor.max_rows] for start in range(0, len(fit), tensor.max_rows)]
        batches = [[rows[index] for index in part] for part in parts]
        answers = await asyncio.gather(*[self._batch(tower, batch, deadline) for batch in batches])
        for part, answer in zip(parts, answers, strict=True):
            for index, outcome in zip(part, answer, strict=True):
                outcomes[index] = outcome
        return outcomes

    def problems(self) -> list[str]:
        """Nothing of a server that is away, and nothing of some towers that differ: the others are answered, and a
        restart might find the same and answer nothing.

        Where every tower differs nothing is lost by one, which reads this process's repository again.
        """
        broken = [
            f"The task that should {name} ended; the process has to be restarted." for name in self._servers.broken()
        ]
        differences = self._servers.differences()
        return broken + (differences if len(differences) == len(self._tensors) else [])

    async def close(self) -> None:
        await self._servers.close()

    async def _batch(self, tower: str, rows: Sequence[Row], deadline: Deadline) -> list[Outcome]:
        try:
            embeddings = await self._ask(tower, np.stack(rows), deadline)
        except BackboneFailedError as error:
            if len(rows) == 1:
                return [error]
            # One row may be to blame: alone, the others are answered. One after the other, since Triton would put rows
            # that come together into one batch again.
            return [outcome for row in rows for outcome in await self._batch(tower, [row], deadline)]
        except QuorumError as error:
            return [error] * len(rows)
        return [row if bool(np.isfinite(row).all()) else failed(tower) for row in embeddings]

    async def _ask(self, tower: str, batch: NDArray[Any], deadline: Deadline) -> NDArray[np.float32]:
        """`float32[n, d]`. Raises a `QuorumError`."""
        budget, queued_at_s = self._budgets[tower], time.monotonic()
        try:
            async with asyncio.timeout(deadline.remaining_s):
                await budget.acquire(len(batch))
        except TimeoutError as error:
            raise late(tower) from error
        try:
            started_s = time.monotonic()
            for _ in batch:
                self._observer.row_waited(tower, started_s - queued_at_s)
            response = await self._ask_in_turn(tower, batch, deadline)
            self._observer.batch_done(tower, len(batch), time.monotonic() - started_s)
        finally:
            budget.release(len(batch))
        return self._read(tower, len(batch), response)

    async def _ask_in_turn(self, tower: str, batch: NDArray[Any], deadline: Deadline) -> pb.ModelInferResponse:
        """A server that is away or busy passes the batch on to the next; asking twice does no harm."""
        request, tried = self._request(tower, batch), list[Connection]()
        problem: QuorumError | None = None
        while connection := self._servers.pick(tower, tried):
            if deadline.passed:
                raise late(tower)
            tried.append(connection)
            connection.rows += len(batch)
            try:
                return await connection.infer(tower, request, deadline)
            except UnavailableError as error:
                problem = error
            finally:
                connection.rows -= len(batch)
        raise problem or self._servers.why_not(tower)

    def _request(self, tower: str, batch: NDArray[Any]) -> pb.ModelInferRequest:
        tensor = self._tensors[tower]
        request = pb.ModelInferRequest(model_name=tower, model_version=VERSION)
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=batch.shape)
        request.raw_input_contents.append(batch.tobytes())
        return request

    def _read(self, tower: str, rows: int, response: pb.ModelInferResponse) -> NDArray[np.float32]:
        width = self._tensors[tower].width
        described = [(each.name, each.datatype, list(each.shape)) for each in response.outputs]
        sizes = [len(content) for content in response.raw_output_contents]
        if described != [("embedding", "FP32", [rows, width])] or sizes != [rows * width * FLOAT32.itemsize]:
            raise failed(tower)
        return np.frombuffer(response.raw_output_contents[0], FLOAT32).reshape(rows, width)


def _tensor(tower: ImageTower | TextTower, max_rows: int) -> _Tensor:
    width, most = tower.config.embedding_dim, min(tower.config.max_batch_size, max_rows)
    if isinstance(tower, ImageTower):
        size = tower.config.preprocessing.image_size
        return _Tensor("image", "UINT8", np.dtype(np.uint8), (size, size, 3), width, most)
    return _Tensor("input_ids", "INT64", np.dtype("<i8"), (tower.config.context_length,), width, most)
