"""compose.yaml: what Compose's own schema admits, the settings that exist, files that are there, nothing left open."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from tests.support.compose import COMPOSE, GPU, ROOT, dockerfile_of, is_pinned, read_yaml, services, tool

SERVICES = services()
NAMES = sorted(SERVICES)
PREFIX = "QUORUM_"
WRITES_ITS_ROOT = {"milvus"}
SECRET = re.compile("PASSWORD|SECRET|TOKEN|API_KEY")


def quorum_environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in service.get("environment", {}).items() if name.startswith(PREFIX)}


@pytest.mark.parametrize("path", [COMPOSE, GPU], ids=lambda path: path.name)
def test_the_schema_of_compose_admits_it(path: Path) -> None:
    result = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_what_the_gpu_changes_is_there_to_be_changed() -> None:
    changed = services(GPU)
    assert set(changed) <= set(SERVICES)
    assert all((ROOT / each["build"]["dockerfile"]).is_file() for each in changed.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is (name not in WRITES_ITS_ROOT)
    assert not service.keys() & {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"}


@pytest.mark.parametrize("name", NAMES)
def test_a_service_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
    assert service["pids_limit"] > 0
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_pinned_or_built_here(name: str) -> None:
    service = SERVICES[name]
    assert "build" in service or is_pinned(service["image"])


@pytest.mark.parametrize("name", [name for name in NAMES if "build" in SERVICES[name]])
def test_a_build_has_its_dockerfile_and_gives_it_arguments_that_it_takes(name: str) -> None:
    declared = set(re.findall(r"^ARG (\w+)", dockerfile_of(SERVICES[name]), re.MULTILINE))
    assert set(SERVICES[name]["build"].get("args", {})) <= declared


def has_health_check(service: dict[str, Any]) -> bool:
    return "healthcheck" in service or "HEALTHCHECK --" in dockerfile_of(service)


@pytest.mark.parametrize("name", NAMES)
def test_a_service_tells_how_it_is(name: str) -> None:
    assert has_health_check(SERVICES[name])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_service_waits_for_exists(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] in ("service_started", "service_healthy")
        assert other in SERVICES


def test_everything_mounted_is_there() -> None:
    kept = read_yaml(COMPOSE)["volumes"]
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source, _, *mode = mount.split(":")
            assert (ROOT / source).exists() if source.startswith(".") else source in kept, mount
            assert not source.startswith(".") or mode == ["ro"], f"{mount} lets a container write into the checkout"


def test_every_volume_and_network_that_is_declared_is_used() -> None:
    declared = read_yaml(COMPOSE)
    mounted = {mount.partition(":")[0] for each in SERVICES.values() for mount in each.get("volumes", [])}
    joined = {network for each in SERVICES.values() for network in each["networks"]}
    assert set(declared["volumes"]) <= mounted
    assert set(declared["networks"]) == joined


def test_ports_are_published_on_this_machine_alone_and_only_where_people_look() -> None:
    published = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
    assert set(published) == {"proxy", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    outside = {name for name, each in SERVICES.items() if "outside" in each["networks"]}
    assert outside == set(published)
    assert read_yaml(COMPOSE)["networks"]["inside"]["internal"] is True


def test_no_password_is_written_down() -> None:
    for service in SERVICES.values():
        secret = {name: value for name, value in service.get("environment", {}).items() if SECRET.search(name)}
        assert all(value.startswith("${") for value in secret.values())


def test_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = quorum_environment(SERVICES["gateway"])
    assert given.keys() >= {"QUORUM_ENGINE", "QUORUM_STATE_URL", "QUORUM_CACHE_URL", "QUORUM_GALLERIES_URL"}
    assert {name.removeprefix(PREFIX).lower() for name in given} <= Settings.model_fields.keys()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    assert settings.engine == "triton"
    assert settings.triton_urls == ("triton:8001",)


def test_every_address_is_a_service_of_the_same_network() -> None:
    for name, service in SERVICES.items():
        for value in service.get("environment", {}).values():
            for host in re.findall(r"(?:^|//)([a-z][a-z-]*):\d+", value):
                assert host in SERVICES, f"{name}: {value}"
                assert set(SERVICES[host]["networks"]) & set(service["networks"])


def test_a_gateway_may_drain_before_it_is_killed() -> None:
    grace_s = int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s"))
    (delay_s,) = re.findall(r"QUORUM_DRAIN_DELAY_S=(\d+)", dockerfile_of(SERVICES["gateway"]))
    assert grace_s > Settings.model_fields["drain_timeout_s"].default + int(delay_s)
    assert int(SERVICES["proxy"]["stop_grace_period"].removesuffix("s")) > grace_s


def test_there_are_two_gateways_that_share_what_they_know() -> None:
    gateway = SERVICES["gateway"]
    assert gateway["deploy"]["replicas"] == 2
    assert gateway["environment"]["QUORUM_STATE_URL"] != gateway["environment"]["QUORUM_CACHE_URL"]
    assert "volumes" not in gateway
