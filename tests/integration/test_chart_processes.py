"""What the chart tells its containers, told to the real programs: Redis' arguments, and the paths that probes ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from tests.support.chart_cases import CASES
from tests.support.manifest_checks import PROBES
from tests.support.manifests import Release
from tests.support.redis import RedisServer, redis_at
from tests.support.triton import TritonServer


@pytest.fixture(scope="module")
def release() -> Release:
    return CASES["defaults"].rendered()


def paths(release: Release, component: str) -> set[str]:
    """What its probes ask by HTTP."""
    (pod,) = release.of_component(component)
    (container,) = pod.containers
    return {container[probe]["httpGet"]["path"] for probe in PROBES}


def test_a_gateway_answers_its_probes(release: Release, live_server: str) -> None:
    for path in paths(release, "gateway"):
        assert httpx2.get(live_server + path, timeout=10.0).status_code == 200


def test_triton_answers_its_probes(release: Release, triton: TritonServer) -> None:
    for path in paths(release, "triton"):
        assert httpx2.get(f"http://127.0.0.1:{triton.http}{path}", timeout=10.0).status_code == 200


def settings_of(server: RedisServer, *names: str) -> dict[str, str]:
    with Redis.from_url(server.url, decode_responses=True) as client:
        return {name: client.config_get(name)[name] for name in names}


def container_of(release: Release, component: str) -> dict[str, Any]:
    (pod,) = release.of_component(component)
    (container,) = pod.containers
    return dict(container)


@pytest.mark.parametrize(
    ("component", "wanted"),
    [
        ("redis-state", {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}),
        ("redis-cache", {"appendonly": "no", "maxmemory-policy": "allkeys-lru"}),
    ],
)
def test_redis_takes_its_arguments(release: Release, tmp_path: Path, component: str, wanted: dict[str, str]) -> None:
    container = container_of(release, component)
    assert container["command"] == ["redis-server"]
    with redis_at(tmp_path, tuple(container["args"])) as server:
        assert settings_of(server, *wanted) == wanted
        assert int(settings_of(server, "maxmemory")["maxmemory"]) == 384 * 2**20


def test_redis_with_a_password_refuses_who_has_none(tmp_path: Path) -> None:
    arguments = container_of(CASES["redis-with-passwords"].rendered(), "redis-state")["args"]
    given = tuple(each.replace("$(REDISCLI_AUTH)", "letters1") for each in arguments)
    assert given != tuple(arguments)
    with redis_at(tmp_path, given, "letters1") as server:
        assert settings_of(server, "appendfsync") == {"appendfsync": "always"}
        with Redis(port=server.port) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()
