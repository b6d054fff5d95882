"""Who is alive is told by leases, and an outage of the server kills nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.errors import OutcomeUnknownError
from service.stores.base import StoredLabelSet
from service.stores.redis import RedisState
from service.stores.redis.connection import connect
from service.stores.redis.link import Link
from service.stores.redis.presence import Pulse, Timing
from service.stores.redis.scripts import CREATE_JOB, FINISH_JOB, START_JOB, Script, Word
from tests.support.redis import RedisServer, redis_at
from tests.support.state import PETS, Ups, content, found, new_job, redis_state, running_job

PATIENCE_S = 60.0
QUICK = Timing(beat_s=0.05, lease_s=1.5)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_at(tmp_path) as server:
        yield server


@asynccontextmanager
async def started(server: RedisServer) -> AsyncIterator[RedisState]:
    state = redis_state(server, timing=QUICK)
    await state.start()
    try:
        yield state
    finally:
        await state.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def abandon(state: RedisState) -> None:
    """As if the process was killed: it beats no more, and has not left in order."""
    for task in state._tasks:
        task.cancel()
    await asyncio.wait(state._tasks)
    await state._client.aclose()


async def pets(state: RedisState) -> StoredLabelSet:
    return await state.label_sets.put("pets", PETS)


async def test_jobs_of_a_process_without_a_lease_are_interrupted_and_not_before(own_redis: RedisServer) -> None:
    dead = redis_state(own_redis, timing=QUICK)
    await dead.start()
    job = await running_job(dead, await pets(dead))
    async with started(own_redis) as state:
        await abandon(dead)
        assert list(await state.jobs.sweep()) == [], "its lease goes on for a while"
        swept: list[str] = []

        async def is_swept() -> bool:
            swept.extend(each.id for each in await state.jobs.sweep())
            return bool(swept)

        await until(is_swept)
        assert swept == [job.id]
        ended = await found(state, job.id)
        assert ended.error is not None
        assert ended.error.code == "job_interrupted"


@pytest.mark.parametrize("outage", ["dead", "hanging"])
async def test_an_outage_longer_than_every_lease_ends_no_job_of_the_living(own_redis: RedisServer, outage: str) -> None:
    async with started(own_redis) as one, started(own_redis) as other:
        job = await running_job(one, await pets(one))
        own_redis.kill() if outage == "dead" else own_redis.pause()
        await asyncio.sleep(2 * QUICK.lease_s)
        await asyncio.to_thread(own_redis.start) if outage == "dead" else own_redis.resume()
        # The neighbour looks the moment the server answers, with every lease over, and a whole lease long.
        for _ in range(40):
            assert list(await other.jobs.sweep()) == []
            await asyncio.sleep(QUICK.lease_s / 20)
        assert (await found(other, job.id)).state == "running"
        done = await one.jobs.finish(job.id, {}, content())
        assert done is not None
        assert done.result == {"version": 1}


async def test_a_process_that_was_away_for_too_long_finds_its_job_ended(own_redis: RedisServer) -> None:
    async with started(own_redis) as paused, started(own_redis) as state:
        job = await running_job(paused, await pets(paused))
        beating, following = paused._tasks
        beating.cancel()  # as SIGSTOP would have it, but for this test's own loop
        await asyncio.wait({beating})

        async def is_swept() -> bool:
            return [each.id for each in await state.jobs.sweep()] == [job.id]

        await until(is_swept)
        assert await paused.jobs.progress(job.id, 0.5) is False
        assert await paused.jobs.finish(job.id, {}, content()) is None
        assert await state.artefacts.get("pets", "controller") is None
        assert not following.done()


async def test_nobody_is_judged_by_one_who_has_not_seen_a_whole_lease(redis: RedisServer) -> None:
    link = Link(connect(redis.url, variable="X"), Ups())

    async def nothing() -> None: ...

    pulse = Pulse(link, QUICK, lost=lambda: None, returned=nothing)
    await pulse.beat()
    assert not pulse.is_steady
    await asyncio.sleep(QUICK.lease_s)
    assert not pulse.is_steady, "nor by one that slept"
    await pulse.beat()
    assert not pulse.is_steady

    async def beats() -> bool:
        await pulse.beat()
        return pulse.is_steady

    await until(beats)
    await link.client.aclose()


class Losing(Link):
    """Loses the answer to the next call of `script`, which the server has carried out."""

    script: Script | None = None

    async def write(self, script: Script, *arguments: Word) -> object:
        answer = await super().write(script, *arguments)
        if script is self.script:
            self.script = None
            raise OutcomeUnknownError("lost")
        return answer


@pytest.fixture
async def losing(redis: RedisServer) -> AsyncIterator[tuple[RedisState, Losing]]:
    async with started(redis) as state:
        link = state.jobs._link = Losing(state._client, Ups())
        yield state, link


async def test_a_start_whose_answer_was_lost_is_found_again(losing: tuple[RedisState, Losing]) -> None:
    state, link = losing
    job = await state.jobs.create(new_job(await pets(state)))
    link.script = START_JOB
    with pytest.raises(OutcomeUnknownError):
        await state.jobs.start(job.id)
    started = await state.jobs.start(job.id)
    assert started is not None
    assert started.state == "running"
    assert await state.jobs.start(job.id) is None, "once"


async def test_a_success_whose_answer_was_lost_is_found_again_and_stored_once(
    losing: tuple[RedisState, Losing],
) -> None:
    state, link = losing
    job = await running_job(state, await pets(state))
    link.script = FINISH_JOB
    with pytest.raises(OutcomeUnknownError):
        await state.jobs.finish(job.id, {}, content())
    done = await state.jobs.finish(job.id, {}, content())
    assert done is not None
    assert (done.state, done.result) == ("succeeded", {"version": 1})
    assert [each.version for each in await state.artefacts.list("pets", "controller")] == [1]


async def test_a_job_that_nobody_knows_to_be_created_is_interrupted(losing: tuple[RedisState, Losing]) -> None:
    state, link = losing
    new = new_job(await pets(state))
    link.script = CREATE_JOB
    with pytest.raises(OutcomeUnknownError):
        await state.jobs.create(new)
    assert (await found(state, new.id)).state == "queued"
    await state.jobs.sweep()
    ended = await found(state, new.id)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == ("failed", "job_interrupted")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--appendonly", "yes", "--appendfsync", "always"), []),
        (("--appendonly", "no"), ["appendonly yes"]),
        (("--appendonly", "yes", "--appendfsync", "everysec"), ["appendfsync always"]),
        (
            ("--appendonly", "yes", "--appendfsync", "no", "--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru"),
            ["appendfsync always", "maxmemory-policy noeviction"],
        ),
        (("--rename-command", "CONFIG", ""), ["cannot be checked"]),
    ],
)
async def test_what_may_be_lost_is_said_at_start_with_what_mends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, options: tuple[str, ...], expected: list[str]
) -> None:
    caplog.set_level(logging.INFO, logger="service.stores")
    with redis_at(tmp_path, options) as server:
        async with started(server):
            pass
    said = sorted(record.message for record in caplog.records)
    assert len(said) == len(expected)
    for message, part in zip(said, sorted(expected, reverse=True), strict=True):
        assert part in message
    levels = {record.levelname for record in caplog.records}
    assert levels == ({"INFO"} if expected == ["cannot be checked"] else {"WARNING"} if expected else set())
