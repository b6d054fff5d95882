"""Several Triton servers of which each runs some of the towers, and of which some are not there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from service.deadline import Deadline
from service.engines.base import Outcome
from service.engines.triton import TritonEngine, TritonOptions
from service.errors import RepositoryError, UnavailableError
from service.repository import Zoo
from tests.conftest import free_port
from tests.support.pipeline import Observations
from tests.support.triton_double import TritonDouble, triton_double

SMALL = ("small_image", "small_text")
LARGE = ("large_image", "large_text")


class CountingDouble(TritonDouble):
    """Counts how often it is asked for each configuration."""

    def __init__(self, zoo: Zoo) -> None:
        super().__init__(zoo)
        self.asked: list[str] = []

    async def ModelConfig(  # noqa: N802  # the protocol's name
        self, request: service_pb2.ModelConfigRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelConfigResponse:
        self.asked.append(request.name)
        return await super().ModelConfig(request, context)


@asynccontextmanager
async def pool(zoo: Zoo, towers: tuple[str, ...]) -> AsyncIterator[CountingDouble]:
    """A server that has loaded `towers` alone."""
    async with triton_double(zoo, CountingDouble) as double:
        assert isinstance(double, CountingDouble)
        for name in double.configs.keys() - set(towers):
            del double.configs[name]
        yield double


@asynccontextmanager
async def started(zoo: Zoo, *addresses: str, start_wait_s: float = 0.5) -> AsyncIterator[TritonEngine]:
    engine = TritonEngine(zoo, TritonOptions(addresses, start_wait_s=start_wait_s, max_rows=8), Observations())
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def ask(engine: TritonEngine, backbone: str) -> Outcome:
    size = {"small": 32, "large": 48}[backbone]
    (outcome,) = await engine.embed(f"{backbone}_image", [np.zeros((size, size, 3), dtype=np.uint8)], Deadline.after(5))
    return outcome


def closed_port() -> str:
    return f"127.0.0.1:{free_port()}"


async def test_two_pools_serve_one_zoo_and_each_is_asked_for_its_own(fake_zoo: Zoo) -> None:
    async with AsyncExitStack() as stack:
        small = await stack.enter_async_context(pool(fake_zoo, SMALL))
        large = await stack.enter_async_context(pool(fake_zoo, LARGE))
        engine = await stack.enter_async_context(started(fake_zoo, small.address, large.address, start_wait_s=10))
        for backbone, asked, other in (("small", small, large), ("large", large, small)):
            before = len(other.batches)
            assert isinstance(await ask(engine, backbone), np.ndarray)
            assert (len(asked.batches) > 0, len(other.batches)) == (True, before)
        assert engine.problems() == []


async def test_a_pool_that_is_not_there_does_not_keep_a_gateway_from_starting(
    fake_zoo: Zoo, caplog: pytest.LogCaptureFixture
) -> None:
    async with pool(fake_zoo, SMALL) as small, started(fake_zoo, small.address, closed_port()) as engine:
        assert isinstance(await ask(engine, "small"), np.ndarray)
        missed = await ask(engine, "large")
        assert isinstance(missed, UnavailableError)
        assert "large_image" in missed.message
        assert engine.problems() == [], "a restart would not bring the pool"
    (said,) = [record.getMessage() for record in caplog.records if "yet: answers go without" in record.getMessage()]
    assert "large_image, large_text" in said
    assert "small_image" not in said


def names(monkeypatch: pytest.MonkeyPatch, known: dict[str, set[str]]) -> dict[str, set[str]]:
    """`known` in place of the network's names; it may be changed."""

    async def resolve(host: str, _: int) -> set[str]:
        if host not in known:
            raise OSError("no such name")
        return known[host]

    monkeypatch.setattr("service.engines.triton.servers._resolve", resolve)
    return known


async def test_a_pool_whose_name_stands_for_nothing_yet_is_waited_for_and_then_missed(
    fake_zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engines.triton.servers.RESOLVE_EVERY_S", 0.1)
    async with pool(fake_zoo, SMALL) as small, pool(fake_zoo, LARGE) as large:
        known = names(monkeypatch, {"small.test": {f"ipv4:{small.address}"}})
        async with started(fake_zoo, "small.test:8001", "large.test:8001") as engine:
            assert isinstance(await ask(engine, "small"), np.ndarray)
            assert isinstance(await ask(engine, "large"), UnavailableError)
            known["large.test"] = {f"ipv4:{large.address}"}
            async with asyncio.timeout(20):
                while not isinstance(await ask(engine, "large"), np.ndarray):
                    await asyncio.sleep(0.05)
            assert large.batches
            assert all(tower in LARGE for tower in large.configs)


async def test_a_name_that_stands_for_nobody_counts_as_a_server_that_is_away(
    fake_zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool whose pods wait for a node has no addresses; else its alerts would stay silent."""
    monkeypatch.setattr("service.engines.triton.servers.RESOLVE_EVERY_S", 0.05)
    async with pool(fake_zoo, SMALL) as small, pool(fake_zoo, LARGE) as large:
        known = names(monkeypatch, {"small.test": {f"ipv4:{small.address}"}})
        seen = Observations()
        urls = ("small.test:8001", "large.test:8001")
        engine = TritonEngine(fake_zoo, TritonOptions(urls, start_wait_s=0.5, max_rows=8), seen)
        await engine.start()
        try:
            await until(seen, (1, 2))
            known["large.test"] = {f"ipv4:{large.address}"}
            await until(seen, (2, 2))
            del known["large.test"]  # its server is still there, and no other is missed
            told = len(seen.servers)
            async with asyncio.timeout(20):
                while len(seen.servers) < told + 2:
                    await asyncio.sleep(0.02)
            assert set(seen.servers[told:]) == {(2, 2)}
        finally:
            await engine.close()


async def until(seen: Observations, servers: tuple[int, int]) -> None:
    async with asyncio.timeout(20):
        while not seen.servers or seen.servers[-1] != servers:
            await asyncio.sleep(0.02)


async def test_a_start_waits_for_the_name_that_is_found_last(fake_zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool(fake_zoo, SMALL) as small, pool(fake_zoo, LARGE) as large:

        async def resolve(host: str, _: int) -> set[str]:
            if host == "large.test":
                await asyncio.sleep(0.3)  # by then everybody else was reached
                return {f"ipv4:{large.address}"}
            return {f"ipv4:{small.address}"}

        monkeypatch.setattr("service.engines.triton.servers._resolve", resolve)
        async with started(fake_zoo, "small.test:8001", "large.test:8001", start_wait_s=10) as engine:
            assert isinstance(await ask(engine, "large"), np.ndarray)


async def test_a_tower_that_none_of_all_the_pools_has_is_refused_by_name(fake_zoo: Zoo) -> None:
    async with pool(fake_zoo, SMALL) as small, pool(fake_zoo, LARGE[:1]) as large:
        options = TritonOptions((small.address, large.address), start_wait_s=10, max_rows=8)
        engine = TritonEngine(fake_zoo, options, Observations())
        with pytest.raises(RepositoryError, match=r"^large_text: .* has not loaded it"):
            await engine.start()


async def test_a_pool_with_other_weights_is_refused_though_another_is_away(fake_zoo: Zoo) -> None:
    async with pool(fake_zoo, SMALL) as small:
        small.configs["small_image"].parameters["quorum.sha256"].string_value = "0" * 64
        options = TritonOptions((small.address, closed_port()), start_wait_s=0.5, max_rows=8)
        engine = TritonEngine(fake_zoo, options, Observations())
        with pytest.raises(RepositoryError, match=r"^small_image: quorum\.sha256 is 0000"):
            await engine.start()


async def test_what_another_pool_runs_is_neither_an_error_in_the_log_nor_asked_for_every_second(
    fake_zoo: Zoo, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engines.triton.connection.PROBE_EVERY_S", 0.02)
    with caplog.at_level(logging.INFO):
        async with pool(fake_zoo, SMALL) as small, started(fake_zoo, small.address, closed_port()):
            await asyncio.sleep(0.5)
            assert small.asked.count("large_image") == 1
            del small.configs["small_text"]
            monkeypatch.setattr("service.engines.triton.connection.CHECK_EVERY_S", 0.0)
            async with asyncio.timeout(20):
                while not any("small_text is not loaded any more" in each.getMessage() for each in caplog.records):
                    await asyncio.sleep(0.02)
    errors = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert any("runs 2 of 4 towers" in each.getMessage() for each in caplog.records)
