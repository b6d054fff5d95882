"""A Redis server that is there and refuses: at the start, in the middle, and when a client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from service.errors import ConfigurationError, OutcomeUnknownError, UnavailableError
from service.stores.base import ArtefactContent
from service.stores.redis import RedisState
from service.stores.redis import state as redis_state_module
from service.stores.redis.presence import Timing
from service.stores.redis.scripts import CHANGES
from tests.support.redis import RedisServer, redis_at
from tests.support.state import CARS, PETS, RETENTION, Ups, content, redis_state, running_job

PATIENCE_S = 60.0
QUICK = Timing(beat_s=0.05)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_at(tmp_path) as server:
        yield server


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_state_module, "START_WAIT_S", 0.2)


@asynccontextmanager
async def started(server: RedisServer, ups: Ups | None = None) -> AsyncIterator[RedisState]:
    state = redis_state(server, timing=QUICK, ups=ups)
    await state.start()
    try:
        yield state
    finally:
        await state.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def writes(state: RedisState) -> bool:
    with suppress(UnavailableError):
        await state.label_sets.put("pets", PETS)
        return True
    return False


async def hears(state: RedisState) -> bool:
    return state._subscription.hears()


def as_user(server: RedisServer, *rights: str) -> RedisState:
    """Of one who is allowed no more than `rights`."""
    # Before Redis 7 a new user has all channels.
    assert server.say("ACL", "SETUSER", "quorum", "on", ">s3cret", "resetchannels", *rights) == "+OK"
    url = server.url.replace("redis://", "redis://quorum:s3cret@")
    return RedisState(url, RETENTION, Ups(), QUICK)


@pytest.mark.parametrize(
    "rights",
    [
        ("~quorum:*", "+@all"),
        ("~quorum:*", "&quorum:*", "+@all", "-evalsha"),
    ],
)
async def test_a_user_without_the_rights_that_it_takes_ends_the_start(
    own_redis: RedisServer, rights: tuple[str, ...]
) -> None:
    state = as_user(own_redis, *rights)
    with pytest.raises(ConfigurationError, match="QUORUM_STATE_URL: the server refuses: NoPermissionError"):
        await state.start()


async def test_a_user_with_the_documented_rights_is_enough(own_redis: RedisServer) -> None:
    state = as_user(own_redis, *redis_state_module.RIGHTS.split())
    await state.start()
    stored = await state.label_sets.put("pets", PETS)
    job = await running_job(state, stored)
    assert await state.jobs.finish(job.id, {}, content()) is not None
    await until(lambda: hears(state))
    await state.close()


async def test_who_may_not_publish_writes_nothing(own_redis: RedisServer) -> None:
    async with started(own_redis) as state:
        stored = await state.label_sets.put("pets", PETS)
        job = await running_job(state, stored)
        await state.artefacts.put("pets", "controller", PETS.digest, content())
        barred = as_user(own_redis, "~quorum:*", "+@all")
        for write in (
            barred.label_sets.put("pets", CARS),
            barred.label_sets.delete("pets"),
            barred.artefacts.put("pets", "controller", PETS.digest, content()),
            barred.artefacts.activate("pets", "controller", 1),
            barred.artefacts.delete("pets", "controller"),
            barred.jobs.finish(job.id, {}, content()),
        ):
            with pytest.raises(UnavailableError) as raised:
                await write
            assert isinstance(raised.value.__cause__, ResponseError)
            assert not isinstance(raised.value, OutcomeUnknownError)
        found = await state.label_sets.get("pets")
        assert found is not None
        assert found.label_set == PETS
        assert [each.version for each in await state.artefacts.list("pets", "controller")] == [1]
        after = await state.jobs.get(job.id)
        assert after is not None
        assert after.state == "running"
        await barred.close()


@pytest.mark.usefixtures("hasty")
async def test_a_gateway_comes_up_at_a_server_that_takes_no_writes_now(own_redis: RedisServer) -> None:
    own_redis.say("CONFIG", "SET", "maxmemory", "1")
    ups = Ups()
    async with started(own_redis, ups) as state:
        assert await state.label_sets.get("pets") is None, "reading works"
        with pytest.raises(UnavailableError):
            await state.label_sets.put("pets", PETS)
        assert ups.said == [False]
        own_redis.say("CONFIG", "SET", "maxmemory", "0")
        await until(lambda: writes(state))

        async def up() -> bool:
            return ups.said[-1]

        await until(up)


async def test_what_is_refused_at_every_beat_is_said_once(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="service.stores")
    async with started(own_redis) as state:
        own_redis.say("CONFIG", "SET", "maxmemory", "1")
        for _ in range(10):
            with pytest.raises(UnavailableError):
                await state.label_sets.put("pets", PETS)
            await asyncio.sleep(QUICK.beat_s)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["the state's Redis refused a call"]


async def test_a_server_that_comes_back_and_takes_no_writes_is_read(own_redis: RedisServer) -> None:
    async with started(own_redis) as state:
        await state.label_sets.put("pets", PETS)
        own_redis.kill()

        async def away() -> bool:
            return state._link.away

        await until(away)
        await asyncio.to_thread(own_redis.start)
        own_redis.say("REPLICAOF", "127.0.0.1", "1")  # nobody is there

        async def reads() -> bool:
            with suppress(UnavailableError):
                return await state.label_sets.get("never-heard-of") is None
            return False

        await until(reads)


class Address:
    """An address that can be led elsewhere, as a failover does it: connections that are open stay where they are."""

    def __init__(self, port: int) -> None:
        self.to_port = port

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.to_port)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
    sink.close()


async def test_a_server_that_became_a_replica_is_left_for_the_one_at_its_address(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    address = Address(own_redis.port)
    async with await asyncio.start_server(address.join, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        state = RedisState(f"redis://127.0.0.1:{port}/0", RETENTION, Ups(), QUICK)
        with redis_at(tmp_path / "other") as other:
            await state.start()
            assert await writes(state)
            await until(lambda: hears(state))  # all connections are open that there will be
            own_redis.say("REPLICAOF", "127.0.0.1", "1")  # nobody is there; a copy would end connections
            address.to_port = other.port
            await until(lambda: writes(state))
            await until(lambda: hears(state))
            assert other.say("PUBLISH", CHANGES, "pets") == ":1", "it listens where it writes"
            await state.close()


async def test_a_server_that_hangs_keeps_nobody_from_leaving(own_redis: RedisServer) -> None:
    async with started(own_redis) as state:
        stored = await state.label_sets.put("pets", PETS)
        own_redis.pause()
        large = ArtefactContent(b"x" * 20_000_000, {})  # more than goes into the socket's buffers
        putting = asyncio.create_task(state.artefacts.put("pets", "controller", stored.label_set.digest, large))
        await asyncio.sleep(0.2)
    own_redis.resume()
    with pytest.raises(UnavailableError):
        await putting
