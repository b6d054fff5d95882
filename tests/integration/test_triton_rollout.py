"""A real Triton server that is replaced as in a rollout: old and new are there for a while, then the old one ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from service.deadline import Deadline
from service.engines.base import Outcome
from service.engines.triton import TritonEngine, TritonOptions
from service.repository import load_zoo
from tests.support.pipeline import Observations
from tests.support.triton import TritonServer, triton_server

CALLERS = 6
CONNECTED_LIMIT_S = 30.0


class Load:
    """Callers that ask one after the other until they are told to stop."""

    def __init__(self, engine: TritonEngine) -> None:
        self.outcomes: list[Outcome] = []
        self._engine = engine
        self._going = True
        self._callers = [asyncio.create_task(self._ask()) for _ in range(CALLERS)]

    async def _ask(self) -> None:
        while self._going:
            rows = [np.zeros((32, 32, 3), dtype=np.uint8)] * 4
            self.outcomes += await self._engine.embed("small_image", rows, Deadline.after(10))

    async def more(self, count: int) -> None:
        wanted = len(self.outcomes) + count
        async with asyncio.timeout(60):
            while len(self.outcomes) < wanted:
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        self._going = False
        await asyncio.gather(*self._callers)


Pair = tuple[TritonServer, TritonServer]


async def become(seen: Observations, servers: tuple[int, int]) -> None:
    """Wait until so many are connected and known."""
    async with asyncio.timeout(CONNECTED_LIMIT_S):
        while seen.servers[-1] != servers:
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def servers(fake_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("rollout")
    with triton_server(fake_repository, folder) as one, triton_server(fake_repository, folder) as other:
        yield one, other


async def roll(pair: Pair, known: set[str], end_old: Callable[[TritonServer], Awaitable[object]]) -> list[Outcome]:
    """What callers got while `known`, the addresses behind the name, went from one server to both to the other."""
    old, new = pair
    await asyncio.to_thread(old.start_if_down)
    seen = Observations()
    known.add(f"ipv4:{old.address}")
    options = TritonOptions(("triton.test:8001",), start_wait_s=30, max_rows=64)
    engine = TritonEngine(load_zoo(old.repository), options, seen)
    await engine.start()
    load = Load(engine)
    try:
        await load.more(40)
        known.add(f"ipv4:{new.address}")
        await become(seen, (2, 2))
        await load.more(40)
        await end_old(old)
        await become(seen, (1, 1))
        await load.more(200)
        await load.end()
    finally:
        await engine.close()
    return load.outcomes


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    addresses: set[str] = set()

    async def resolve(_: str, __: int) -> set[str]:
        return set(addresses)

    monkeypatch.setattr("service.engines.triton.servers.RESOLVE_EVERY_S", 0.1)
    monkeypatch.setattr("service.engines.triton.servers._resolve", resolve)
    return addresses


async def test_no_caller_notices_that_a_name_stops_standing_for_a_server_that_still_answers(
    servers: Pair, known: set[str]
) -> None:
    async def forget(old: TritonServer) -> None:
        known.discard(f"ipv4:{old.address}")

    outcomes = await roll(servers, known, forget)
    assert [each for each in outcomes if not isinstance(each, np.ndarray)] == []


async def test_no_caller_notices_that_a_server_ends_after_its_successor_came(servers: Pair, known: set[str]) -> None:
    async def end(old: TritonServer) -> None:
        await asyncio.to_thread(old.stop)  # SIGTERM, as a kubelet sends it
        known.discard(f"ipv4:{old.address}")

    outcomes = await roll(servers, known, end)
    assert [each for each in outcomes if not isinstance(each, np.ndarray)] == []
