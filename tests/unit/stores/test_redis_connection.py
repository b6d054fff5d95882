"""Clients of Redis: addresses that are wrong are refused, waits end, and no password is shown."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from service.errors import ConfigurationError, OutcomeUnknownError, UnavailableError
from service.stores.redis.connection import Limits, NotConnectedError, answering, connect, is_redis
from service.stores.redis.link import Link
from service.stores.redis.scripts import GET_JOB, PREFIX, PUT_LABEL_SET
from tests.support.redis import RedisServer, redis_at
from tests.support.state import Ups

QUICK = Limits(connect_s=0.3, call_s=0.3)
PUT = ("pets", "{}", "digest", "{}")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_at(tmp_path, password="s3cret") as server:
        yield server


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", True),
        ("rediss://host:6380/1", True),
        ("unix:///run/redis.sock", True),
        ("REDIS://host", True),
        ("var/quorum.sqlite3", False),
        ("redis.sqlite3", False),
        ("/redis/state", False),
    ],
)
def test_an_address_of_redis_is_told_from_a_path(url: str, expected: bool) -> None:
    assert is_redis(url) is expected


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s3cret@host",
        "redis://:s3cret@host:port",
        "redis://:s3cret@host:99999",
        "redis://:s3cret@host:0",
        "redis://:s3cret@",
        "redis://:s3cret@host/zero",
        "redis://:s3cret@host/0?socket_timeout=60",
        "redis://:x?s3cret@host",
        "redis://:x#s3cret@host",
        "redis://[::1",
        "unix://",
        "",
    ],
)
def test_a_wrong_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="QUORUM_X is no address of a Redis server") as raised:
        connect(url, variable="QUORUM_X")
    assert "s3cret" not in raised.value.message
    assert raised.value.__cause__ is None


async def test_every_way_to_the_same_server(own_redis: RedisServer) -> None:
    for url in (own_redis.url, own_redis.socket_url, own_redis.url.replace("redis://:", "redis://default:")):
        client = connect(url, variable="QUORUM_X")
        async with answering("looking", limit_s=5.0):
            await client.set("seen", b"\x00\xff")
            assert await client.get("seen") == b"\x00\xff"
        assert "s3cret" not in repr(client)
        await client.aclose()


async def test_a_wrong_password_is_unavailable_and_not_shown(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    client = connect(own_redis.url.replace("s3cret", "wr0ng"), variable="QUORUM_X")
    with pytest.raises(UnavailableError) as raised:
        async with answering("looking", limit_s=5.0):
            await client.get("x")
    assert isinstance(raised.value.__cause__, NotConnectedError)
    assert "AuthenticationError" in caplog.text
    assert "wr0ng" not in caplog.text + str(raised.value.__cause__)
    await client.aclose()


async def test_an_answer_that_repeats_the_password_is_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with redis_at(tmp_path, options=("--rename-command", "AUTH", "")) as server:
        client = connect(server.url.replace("redis://", "redis://user:s3cret@"), variable="QUORUM_X")
        with pytest.raises(UnavailableError) as raised:
            async with answering("looking", limit_s=5.0):
                await client.get("x")
        assert "unknown command" in caplog.text
        assert "s3cret" not in caplog.text + str(raised.value.__cause__)
        await client.aclose()


async def test_the_kernel_gives_up_too_what_was_given_up(own_redis: RedisServer) -> None:
    client = connect(own_redis.url, variable="QUORUM_X", limits=QUICK)
    await client.get("x")
    writer = client.connection_pool._available_connections[0]._writer
    assert writer is not None
    found = writer.get_extra_info("socket")
    assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 300
    assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    await client.aclose()


async def test_a_server_that_hangs_is_given_up(own_redis: RedisServer) -> None:
    client = connect(own_redis.url, variable="QUORUM_X", limits=QUICK)
    async with answering("looking", limit_s=5.0):
        await client.get("x")
    own_redis.pause()
    for _ in range(2):  # over a connection that is open, and over a new one
        with pytest.raises(UnavailableError):
            async with answering("looking", limit_s=60.0):
                await client.get("x")
    own_redis.resume()
    async with answering("looking", limit_s=5.0):
        assert await client.get("x") is None
    await client.aclose()


async def test_what_was_not_sent_is_told_from_what_was_not_answered(own_redis: RedisServer) -> None:
    ups = Ups()
    link = Link(connect(own_redis.url, variable="QUORUM_X", limits=QUICK), ups)
    await link.write(PUT_LABEL_SET, *PUT)
    own_redis.pause()
    with pytest.raises(OutcomeUnknownError):
        await link.write(PUT_LABEL_SET, *PUT)
    assert link.away
    with pytest.raises(UnavailableError) as raised:
        await link.write(PUT_LABEL_SET, *PUT)
    assert not isinstance(raised.value, OutcomeUnknownError), "it was not even tried"
    own_redis.kill()
    link.found()
    with pytest.raises(UnavailableError) as raised:
        await link.write(PUT_LABEL_SET, *PUT)
    assert not isinstance(raised.value, OutcomeUnknownError), "nobody was there"
    assert raised.value.retry_after_s
    assert ups.said == [False, True, False]
    await link.client.aclose()


async def test_a_server_that_refuses_is_not_away(own_redis: RedisServer) -> None:
    ups = Ups()
    link = Link(connect(own_redis.url, variable="QUORUM_X"), ups)
    await link.write(PUT_LABEL_SET, *PUT)
    await link.client.config_set("maxmemory", 1)
    with pytest.raises(UnavailableError) as raised:
        await link.write(PUT_LABEL_SET, "cars", *PUT[1:])
    assert isinstance(raised.value.__cause__, ResponseError)
    assert not isinstance(raised.value, OutcomeUnknownError)
    assert not link.away
    assert await link.read(GET_JOB, "job") == []
    await link.client.config_set("maxmemory", 0)
    assert await link.client.keys(f"{PREFIX}*cars*") == [], "refused as a whole"
    await link.client.aclose()


async def test_a_script_is_sent_again_to_a_server_that_forgot_it(own_redis: RedisServer) -> None:
    link = Link(connect(own_redis.url, variable="QUORUM_X"), Ups())
    for _ in range(2):
        assert await link.read(GET_JOB, "job") == []
        await link.client.script_flush()
    await link.client.aclose()
