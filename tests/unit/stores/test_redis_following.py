"""What a gateway knows beside the Redis server: trusted while it hears of changes, and not a moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.stores.redis import RedisState
from service.stores.redis.link import HURRY_S, LIMIT_S, SILENT_S
from service.stores.redis.presence import Timing
from service.stores.redis.scripts import Script, Word
from service.stores.redis.subscription import Subscription
from tests.support.redis import RedisServer, redis_at
from tests.support.state import CARS, PETS, content, redis_state

PATIENCE_S = 60.0


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_at(tmp_path) as server:
        yield server


@asynccontextmanager
async def following(server: RedisServer) -> AsyncIterator[RedisState]:
    """Started, and hearing of changes."""
    state = redis_state(server, timing=Timing(beat_s=0.05))
    await state.start()
    try:
        await until(lambda: hears(state))
        yield state
    finally:
        await state.close()


async def hears(state: RedisState) -> bool:
    return state._subscription.hears()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.01)


async def trusts(state: RedisState, name: str = "pets") -> bool:
    """Whether it would answer about this label set without asking; it is read for that."""
    await state.label_sets.get(name)
    await state.artefacts.active(name)
    tables = (state._known_sets, state._known_active)
    return await hears(state) and all(table._entries[name].fresh for table in tables)


async def test_what_is_trusted_is_not_asked_for_and_every_change_ends_trust(redis: RedisServer) -> None:
    async with following(redis) as one, following(redis) as other:
        await one.label_sets.put("pets", PETS)
        await until(lambda: trusts(other))
        await one.label_sets.put("pets", CARS)

        async def shows_cars() -> bool:
            stored = await other.label_sets.get("pets")
            return stored is not None and stored.label_set == CARS

        await until(shows_cars)
        await until(lambda: trusts(other))
        await one.artefacts.put("pets", "controller", CARS.digest, content())

        async def shows_version() -> bool:
            return "controller" in await other.artefacts.active("pets")

        await until(shows_version)
        await until(lambda: trusts(other))
        await one.artefacts.delete("pets", "controller")
        await until(lambda: _not(shows_version))
        await one.label_sets.delete("pets")

        async def gone() -> bool:
            return await other.label_sets.get("pets") is None

        await until(gone)


async def _not(condition: Callable[[], Awaitable[bool]]) -> bool:
    return not await condition()


async def test_a_server_that_was_emptied_under_a_living_connection_is_believed(redis: RedisServer) -> None:
    async with following(redis) as state:
        await state.label_sets.put("pets", PETS)
        await until(lambda: trusts(state))
        assert redis.say("FLUSHALL") == "+OK"

        async def forgotten() -> bool:
            return await state.label_sets.get("pets") is None

        await until(forgotten)


async def test_what_was_trusted_is_asked_for_again_over_a_new_connection(own_redis: RedisServer) -> None:
    async with following(own_redis) as state:
        await state.label_sets.put("pets", PETS)
        await until(lambda: trusts(state))
        await asyncio.to_thread(own_redis.restart)
        own_redis.say("DEL", "quorum:1:label-set:pets")  # as a change that was published while nobody listened
        await until(lambda: _not(lambda: hears(state)))
        await until(lambda: hears(state))
        assert await state.label_sets.get("pets") is None


async def test_a_connection_on_which_nothing_comes_is_not_trusted(own_redis: RedisServer) -> None:
    async with following(own_redis) as state:
        await state.label_sets.put("pets", PETS)
        await until(lambda: trusts(state))
        own_redis.pause()
        await until(lambda: _not(lambda: hears(state)))
        stored = await state.label_sets.get("pets")
        assert stored is not None, "it is known all the same"
        own_redis.resume()
        await until(lambda: trusts(state))


async def test_a_silent_server_is_not_waited_for_where_something_is_known(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(own_redis) as state:
        await state.label_sets.put("pets", PETS)
        limits: list[float] = []
        read = state._link.read

        async def noting(script: Script, *arguments: Word, limit_s: float) -> object:
            limits.append(limit_s)
            return await read(script, *arguments, limit_s=limit_s)

        monkeypatch.setattr(state._link, "read", noting)
        assert await state.label_sets.get("pets") is not None
        assert await state.label_sets.get("cars") is None
        monkeypatch.setattr(state._subscription, "hears", lambda: False)
        assert await state.label_sets.get("pets") is not None
        assert await state.label_sets.get("cars") is None
        assert limits == [HURRY_S, LIMIT_S, SILENT_S, LIMIT_S]


async def test_own_writes_are_seen_at_once_also_without_a_subscription(redis: RedisServer) -> None:
    async with following(redis) as state:
        for label_set in (PETS, CARS) * 5:
            await state.label_sets.put("pets", label_set)
            stored = await state.label_sets.get("pets")
            assert stored is not None
            assert stored.label_set == label_set
        for version in range(1, 6):
            await state.artefacts.put("pets", "controller", CARS.digest, content())
            active = await state.artefacts.active("pets")
            assert active["controller"].version == version


async def test_a_subscription_outlives_what_goes_wrong_in_it(redis: RedisServer) -> None:
    async with following(redis) as state:
        told: list[str | None] = []

        def changed(name: str | None) -> None:
            told.append(name)
            if told.count(None) == 1 and name is not None:
                raise RuntimeError("a bug")

        subscription = Subscription(state._client, changed)
        task = asyncio.create_task(subscription.run())

        async def heard() -> bool:
            await state.label_sets.put("pets", PETS)
            return told.count("pets") > 1 and subscription.hears()

        await until(heard)
        assert told.count(None) == 2, "it began anew, and distrusted everything"
        while not task.done():  # see `RedisState.close`
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
