"""The embedding cache in a real Redis: shared by gateways, and missed by nobody when it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from redis.asyncio import Redis

from service.engines.fake import FakeEngine
from service.repository import Zoo
from service.stores.redis import cache as redis_cache
from service.stores.redis.advice import CacheAdvice
from service.stores.redis.breaker import Breaker
from service.stores.redis.cache import PREFIX, RedisEmbeddingCache
from service.stores.redis.connection import Limits, connect
from tests.conftest import MakeApp, Serve
from tests.support.api import classify, classify_one
from tests.support.asgi import metric
from tests.support.images import jpeg
from tests.support.redis import RedisServer, redis_at

EVICTING = ("--maxmemory-policy", "allkeys-lru")
QUICK_S = 0.5
WAIT_S = 20.0
PATIENT_S = 30.0
"""Where a loaded machine must not pass for an outage."""
TTL_S = 60.0
ROW = np.arange(8, dtype=np.float32)


class Tally:
    def __init__(self) -> None:
        self.dropped = 0
        self.failures = 0

    def shared_cache_dropped(self, count: int) -> None:
        self.dropped += count

    def fail(self) -> None:
        self.failures += 1


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_at(tmp_path, EVICTING) as server:
        yield server


@asynccontextmanager
async def cache_on(
    url: str, tally: Tally, *, limit_s: float = PATIENT_S, advice: CacheAdvice | None = None
) -> AsyncIterator[RedisEmbeddingCache]:
    client = connect(url, variable="URL", limits=Limits(connect_s=limit_s, call_s=limit_s))
    cache = RedisEmbeddingCache(client, Breaker("cache", limit_s, tally.fail), tally, ttl_s=TTL_S, advice=advice)
    await cache.start()
    try:
        yield cache
    finally:
        await cache.close()


async def until_found(cache: RedisEmbeddingCache, key: str, row: NDArray[np.float32] = ROW) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await cache.get_many([key]):
            await cache.put_many({key: row})
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("away", ["killed", "paused"])
async def test_away_is_a_miss_at_once_and_back_is_a_hit_again(redis: RedisServer, away: str) -> None:
    tally = Tally()
    async with cache_on(redis.url, tally, limit_s=QUICK_S) as cache:
        await until_found(cache, "a")
        redis.kill() if away == "killed" else redis.pause()
        async with asyncio.timeout(WAIT_S):
            for _ in range(200):
                assert await cache.get_many(["a"]) == {}
                await cache.put_many({"b": ROW})
        assert 1 <= tally.failures < 20, "left alone between tries"
        assert tally.dropped > 0
        redis.start() if away == "killed" else redis.resume()
        await until_found(cache, "a")
        assert np.array_equal((await cache.get_many(["a"]))["a"], ROW)


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(redis: RedisServer) -> None:
    tally = Tally()
    async with cache_on(redis.url, tally, limit_s=QUICK_S) as cache:
        await until_found(cache, "a")
        await until_found(cache, "b", ROW + 1)
        redis.pause()
        assert await cache.get_many(["a"]) == {}
        redis.resume()
        async with asyncio.timeout(WAIT_S):
            while not (found := await cache.get_many(["b"])):
                await asyncio.sleep(0.05)
        assert np.array_equal(found["b"], ROW + 1)


async def test_values_leave_after_their_time(redis: RedisServer) -> None:
    async with cache_on(redis.url, Tally()) as cache:
        await cache.put_many({"a": ROW})
        await cache.written()
        assert 0 < int(redis.say("PTTL", f"{PREFIX}a").removeprefix(":")) <= 1e3 * TTL_S


@pytest.mark.parametrize("value", ["", "x", "\\x08\\x00\\x00\\x00", "\\x01\\x00\\x00\\x00abc", "\\x00\\x00\\x00\\x00"])
async def test_a_value_that_is_cut_or_is_none_is_a_miss(redis: RedisServer, value: str) -> None:
    async with cache_on(redis.url, Tally()) as cache:
        await cache.put_many({"good": ROW})
        await cache.written()
        redis.say("SET", f"{PREFIX}bad", f'"{value}"')
        redis.say("RPUSH", f"{PREFIX}list", "x")
        assert set(await cache.get_many(["bad", "list", "good"])) == {"good"}


async def test_what_does_not_fit_into_the_queue_is_dropped_and_counted(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "QUEUE_BYTES", 1_000)
    tally = Tally()
    async with cache_on(redis.url, tally) as cache:
        await cache.put_many({str(number): ROW for number in range(10)})
        await cache.written()
        found = await cache.get_many([str(number) for number in range(10)])
    assert 0 < len(found) < 10
    assert tally.dropped == 10 - len(found)


async def test_what_many_prompts_need_is_asked_for_in_parts(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once it would take longer than a call may, and pass for an outage."""
    asked: list[int] = []
    mget = Redis.mget

    def counted(client: Redis, names: list[str]) -> Awaitable[list[bytes | str | None]]:
        asked.append(len(names))
        return mget(client, names)

    monkeypatch.setattr(Redis, "mget", counted)
    rows = {str(number): ROW + number for number in range(1_000)}
    async with cache_on(redis.url, Tally()) as cache:
        await cache.put_many(rows)
        await cache.written()
        found = await cache.get_many([*rows, "unknown"])
    assert all(np.array_equal(found.pop(key), row) for key, row in rows.items())
    assert not found
    assert max(asked) <= redis_cache.AT_ONCE
    assert sum(asked) == 1_001


async def test_what_a_slow_server_is_not_asked_in_time_is_missed(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mget = Redis.mget

    async def slow(client: Redis, names: list[str]) -> list[bytes | str | None]:
        await asyncio.sleep(0.02)
        return await mget(client, names)

    monkeypatch.setattr(Redis, "mget", slow)
    monkeypatch.setattr(redis_cache, "AT_ONCE", 1)
    monkeypatch.setattr(redis_cache, "READ_LIMIT_S", 0.1)
    rows = {str(number): ROW for number in range(100)}
    tally = Tally()
    async with cache_on(redis.url, tally) as cache:
        await cache.put_many(rows)
        await cache.written()
        assert 0 < len(await cache.get_many(list(rows))) < 100
    assert tally.failures == 0


async def test_a_full_server_that_evicts_nothing_is_still_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tally = Tally()
    caplog.set_level(logging.INFO)
    with redis_at(tmp_path, ("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")) as server:
        async with cache_on(server.url, tally) as cache:
            await cache.put_many({"a": ROW})
            for number in range(400):
                await cache.put_many({str(number): np.ones(4096, dtype=np.float32)})
                await cache.written()
                assert set(await cache.get_many(["a"])) == {"a"}
    assert tally.dropped > 0
    assert tally.failures == 0
    assert sum("refuses what is written" in record.getMessage() for record in caplog.records) == 1


async def test_a_policy_that_keeps_the_old_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with redis_at(tmp_path, ("--maxmemory-policy", "noeviction")) as server, caplog.at_level(logging.INFO):
        state_url = server.url.removesuffix("0") + "1"
        async with cache_on(server.url, Tally(), advice=CacheAdvice.of(server.url, state_url)) as cache:
            await cache.put_many({"a": ROW})
            await cache.written()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["same Redis server" in text for text in warnings] == [True, False]
    assert "noeviction" in warnings[1]


async def test_a_server_that_does_not_tell_its_policy_is_used(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.say("ACL", "SETUSER", "default", "-config")
    with caplog.at_level(logging.INFO):
        async with cache_on(redis.url, Tally(), advice=CacheAdvice.of(redis.url, "var/quorum.sqlite3")) as cache:
            await until_found(cache, "a")
    assert [record.levelno for record in caplog.records if "maxmemory-policy" in record.getMessage()] == [logging.INFO]


@pytest.mark.parametrize(
    ("cache_url", "state_url", "same"),
    [
        ("redis://a:6379/0", "redis://a/1", True),
        ("redis://:one@a", "redis://:two@a:6379", True),
        ("redis://a:6380", "redis://a", False),
        ("redis://a", "redis://b", False),
        ("unix:///run/redis", "unix:///run/redis?db=1", True),
        ("redis://a", "var/quorum.sqlite3", False),
    ],
)
def test_who_shares_a_server_is_told_by_address_and_port(cache_url: str, state_url: str, same: bool) -> None:
    assert CacheAdvice.of(cache_url, state_url).shares_state is same


async def test_gateways_share_what_one_of_them_embedded(
    make_app: MakeApp, serve: Serve, fake_zoo: Zoo, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.app.BESIDE_S", PATIENT_S)
    first, second = FakeEngine(fake_zoo), FakeEngine(fake_zoo)
    async with serve(make_app(engine=first, cache_url=redis.url)) as client:
        answer = await classify_one(client, jpeg())
        assert not any(vote["cached"] for vote in answer["backbones"].values())
    async with serve(make_app(engine=second, cache_url=redis.url)) as client:
        shared = await classify_one(client, jpeg())
        again = await classify_one(client, jpeg())
        text = (await client.get("/metrics")).text
    assert not second.calls, "labels and image were known"
    assert shared["predictions"] == again["predictions"] == answer["predictions"]
    assert all(vote["cached"] for vote in shared["backbones"].values())
    assert metric(text, "quorum_cache_tier_hits_total", tier="redis") > 0
    assert metric(text, "quorum_cache_tier_hits_total", tier="process") > 0


async def test_without_redis_everything_is_answered_and_the_log_says_it_once(
    make_app: MakeApp, serve: Serve, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    with caplog.at_level(logging.WARNING):
        async with serve(make_app(cache_url=redis.url)) as client:
            for seed in range(10):
                await classify(client, jpeg(seed=seed))
            assert (await client.get("/readyz")).status_code == 200
            text = (await client.get("/metrics")).text
    assert metric(text, "quorum_shared_cache_failures_total") >= 1
    assert len([record for record in caplog.records if "Redis is away" in record.getMessage()]) == 1


async def test_passwords_are_told_to_nobody(
    make_app: MakeApp, serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), redis_at(tmp_path, EVICTING, password="the-secret") as server:
        app = make_app(cache_url=server.url)
        async with serve(app) as client:
            await classify_one(client, jpeg())
            server.kill()
            await classify_one(client, jpeg(seed=2))
            shown = [(await client.get(path)).text for path in ("/info", "/metrics")]
    assert "the-secret" not in caplog.text + "".join(shown) + repr(app.state.services.settings)
