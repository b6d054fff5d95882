"""Rate limits of gateways on one Redis, and what judges while it is away."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.stores.limits import MemoryRateLimits
from service.stores.redis.breaker import Breaker
from service.stores.redis.connection import Limits, connect
from service.stores.redis.limits import PREFIX, RedisRateLimits
from tests.conftest import MakeApp, Serve
from tests.support.api import error_of
from tests.support.asgi import metric
from tests.support.keys import api_key, bearer, keys_file
from tests.support.redis import RedisServer, redis_at

QUICK_S = 1.0
PATIENT_S = 30.0
"""A loaded machine is not an outage. A server that is killed refuses connections at once."""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_at(tmp_path) as server:
        yield server


class Failures:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.mark.parametrize("away", ["killed", "paused"])
async def test_while_redis_is_away_each_process_judges_for_itself(
    redis: RedisServer, away: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.stores.redis.breaker.PAUSE_S", 0.0)
    failures = Failures()
    client = connect(redis.url, variable="URL", limits=Limits(connect_s=QUICK_S, call_s=QUICK_S))
    limits = RedisRateLimits(client, Breaker("rate limits", QUICK_S, failures), MemoryRateLimits())
    assert [await limits.take("a", 1, 3) for _ in range(3)] == [0.0] * 3
    redis.kill() if away == "killed" else redis.pause()
    with caplog.at_level(logging.INFO):
        waits = [await limits.take("a", 1, 3) for _ in range(4)]
        assert waits[:3] == [0.0] * 3
        assert waits[3] > 0
        assert failures.count == 4
        redis.start() if away == "killed" else redis.resume()
        assert await limits.take("a", 1, 3) > 0, "Redis knew of those before"
    await limits.close()
    assert [record.levelname for record in caplog.records if "rate limits" in record.getMessage()] == [
        "WARNING",
        "INFO",
    ]


async def test_a_bucket_leaves_when_it_is_full_again(redis: RedisServer) -> None:
    limits = RedisRateLimits(
        connect(redis.url, variable="URL"), Breaker("limits", 30.0, Failures()), MemoryRateLimits()
    )
    await limits.take("a", 1, 60)
    await limits.close()
    assert 0 < int(redis.say("PTTL", f"{PREFIX}a").removeprefix(":")) <= 1_000


async def test_gateways_on_one_state_share_a_keys_limit(
    make_app: MakeApp, serve: Serve, tmp_path: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.app.BESIDE_S", PATIENT_S)
    keys = keys_file(tmp_path, api_key("k", requests_per_minute=4))
    apps = [make_app(api_keys_file=keys, state_url=redis.url) for _ in range(2)]
    async with serve(apps[0]) as first, serve(apps[1]) as second:
        answers = [await client.get("/v1/models", headers=bearer("k")) for client in (first, second) * 3]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
        error_of(answers[-1], 429, "rate_limited")
        redis.kill()
        assert (await second.get("/v1/models", headers=bearer("k"))).status_code == 200
        assert metric((await second.get("/metrics")).text, "quorum_rate_limit_failures_total") == 1
