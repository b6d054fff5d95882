"""What compose.yaml starts beside Quorum, in the programs that Debian has and as they are configured there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import redis

from tests.support.compose import services
from tests.support.proxy import CONFIGURATION, Gateway, Names, behind_one_name, haproxy, program, wait_until
from tests.support.redis import RedisServer


@pytest.fixture
def behind() -> Iterator[tuple[list[Gateway], Names]]:
    with behind_one_name() as found:
        yield found


@pytest.fixture
def gateways(behind: tuple[list[Gateway], Names]) -> list[Gateway]:
    return behind[0]


@pytest.fixture
def names(behind: tuple[list[Gateway], Names]) -> Names:
    return behind[1]


@pytest.fixture
def proxy(gateways: list[Gateway], names: Names, tmp_path: Path) -> Iterator[str]:
    with haproxy(gateways, names, tmp_path) as url:
        yield url


def test_the_proxys_configuration_is_taken_without_a_warning() -> None:
    environment = os.environ | {"GATEWAY": services()["proxy"]["environment"]["GATEWAY"]}
    result = subprocess.run(
        [program(), "-c", "-f", CONFIGURATION], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr


def test_every_gateway_behind_the_name_is_used(proxy: str, gateways: list[Gateway]) -> None:
    for _ in range(8):
        assert httpx2.get(f"{proxy}/info").status_code == 200
    assert [len(each.calls) for each in gateways] == [4, 4]


def test_a_call_that_was_sent_is_never_sent_again(proxy: str, gateways: list[Gateway]) -> None:
    assert httpx2.post(f"{proxy}/break", content=b"x").status_code == 502
    assert httpx2.post(f"{proxy}/refuse", content=b"x").status_code == 503
    calls = [call for gateway in gateways for call in gateway.calls]
    assert sorted(calls) == ["/break", "/refuse"]


def none_reaches(gateway: Gateway, proxy: str) -> bool:
    gateway.calls.clear()
    for _ in range(4):
        httpx2.get(f"{proxy}/info")
    return gateway.calls == []


def test_a_gateway_that_is_not_ready_is_left_alone(proxy: str, gateways: list[Gateway]) -> None:
    gateways[0].ready = False
    wait_until(lambda: none_reaches(gateways[0], proxy))


def test_a_gateway_that_leaves_the_name_is_left_alone(proxy: str, gateways: list[Gateway], names: Names) -> None:
    names.addresses.remove(str(gateways[0].server_address[0]))
    wait_until(lambda: none_reaches(gateways[0], proxy))


def test_a_gateway_that_is_gone_fails_no_call(proxy: str, gateways: list[Gateway]) -> None:
    """Not even those that come before the proxy has noticed: no connection, so nothing was sent."""
    gateways[0].shutdown()
    gateways[0].server_close()
    for _ in range(8):
        assert httpx2.post(f"{proxy}/v1/classify", content=b"x").status_code == 200


def test_figures_of_one_gateway_by_chance_are_not_to_be_had(proxy: str, gateways: list[Gateway]) -> None:
    assert httpx2.get(f"{proxy}/metrics").status_code == 404
    assert not any(each.calls for each in gateways)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("state", {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}),
        ("cache", {"appendonly": "no", "save": "", "maxmemory-policy": "allkeys-lru"}),
    ],
)
def test_redis_is_set_up_as_it_is_used(name: str, wanted: dict[str, str], tmp_path: Path) -> None:
    command, *options = services()[name]["command"]
    assert command == "redis-server"
    server = RedisServer(tmp_path, tuple(options))
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            found = {key: client.config_get(key)[key] for key in wanted}
            assert client.config_get("maxmemory")["maxmemory"] != "0"
    finally:
        server.stop()
    assert found == wanted
