"""Pools: what their servers are told is what those programs take, and together they run what gateways ask for."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest

from service.repository import load_zoo
from tests.support.chart import CHART, ROOT, VALUES_FILES, read_yaml, render
from tests.support.chart_cases import CASES
from tests.support.compose import dockerfile_of
from tests.support.manifests import Pod, Release
from tests.support.triton import SERVE, WHEEL, server_options

PRODUCTION = "values-production.yaml"


def servers(release: Release) -> dict[str, Pod]:
    return {pod.labels["quorum/pool"]: pod for pod in release.of_component("triton")}


def arguments(pod: Pod) -> list[str]:
    (container,) = pod.containers
    words: list[str] = container["args"]
    return words


def is_nvidias(pod: Pod) -> bool:
    return any(name.startswith("nvidia.com/") for name in pod.containers[0]["resources"]["limits"])


def towers(pod: Pod) -> set[str]:
    return {word.partition("=")[2] for word in arguments(pod) if word.startswith("--load-model=")}


def test_backbones_that_files_name_are_the_bundled_ones_and_all_of_them_are_served() -> None:
    zoo = load_zoo(ROOT / "model_repository")
    for name in VALUES_FILES:
        values = read_yaml(CHART / name)
        named = [each for pool in (values.get("pools") or {}).values() for each in pool.get("backbones", [])]
        assert not named or sorted(named) == sorted(each.name for each in zoo.backbones), name


def test_pools_load_the_towers_of_their_backbones_alone() -> None:
    found = servers(Release(render({}, PRODUCTION)))
    loaded = [tower for pod in found.values() for tower in towers(pod)]
    folders = {path.name for path in (ROOT / "model_repository").iterdir() if path.is_dir()}
    assert len(found) > 1
    assert sorted(loaded) == sorted(folders)


def test_a_pool_without_names_loads_everything() -> None:
    assert towers(servers(CASES["defaults"].rendered())["all"]) == set()


def test_gateways_know_every_pool_and_no_other(release: Release) -> None:
    (gateway,) = release.of_component("gateway")
    known = release.environment(gateway.containers[0]).get("QUORUM_TRITON_URLS", "")
    found = set()
    for address in filter(None, known.split(",")):
        host, _, port = address.partition(":")
        service = release.one("Service", host.partition(".")[0])
        assert service["spec"]["clusterIP"] == "None"  # the gateway connects to every address itself
        (pod,) = release.behind(service)
        assert pod.ports["grpc"] == int(port)
        found.add(pod.labels["quorum/pool"])
    assert found == set(servers(release))


def test_pools_differ_in_what_they_say_and_share_the_rest() -> None:
    found = servers(CASES["three-pools"].rendered())
    assert found["cheap"].owner["spec"]["replicas"] == 3
    assert "replicas" not in found["dear"].owner["spec"]
    assert found["gpu"].containers[0]["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert found["gpu"].spec["runtimeClassName"] == "nvidia"
    assert found["cheap"].containers[0]["image"] != found["gpu"].containers[0]["image"]
    assert "runtimeClassName" not in found["cheap"].spec


def parsed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The options as docker/triton/serve.py reads them."""
    specification = importlib.util.spec_from_file_location("serve", SERVE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["serve.py", *words])
    return module.parse_options()


def test_the_server_on_cpus_takes_its_arguments(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    for pod in servers(release).values():
        if is_nvidias(pod):
            continue
        options = parsed(arguments(pod), monkeypatch)
        assert options.host == "0.0.0.0"
        assert {name: getattr(options, name) for name in ("http", "grpc", "metrics")} == pod.ports
        assert set(options.load_model) == towers(pod)
        assert options.command == []


def test_the_server_on_gpus_takes_its_arguments() -> None:
    if not (WHEEL / "pytriton/tritonserver/bin/tritonserver").is_file():
        pytest.skip("needs the Triton server that `make triton-server` installs")
    pods = [pod for name in ("values-gpu", "three-pools") for pod in servers(CASES[name].rendered()).values()]
    nvidias = [pod for pod in pods if is_nvidias(pod)]
    assert len(nvidias) == 2
    for pod in nvidias:
        program, *words = arguments(pod)
        flags = dict(word.partition("=")[::2] for word in words)
        assert program == "tritonserver"
        assert flags.keys() - server_options() == set()
        assert {name: int(flags[f"--{name}-port"]) for name in ("http", "grpc", "metrics")} == pod.ports


def test_the_users_are_those_of_the_images(release: Release) -> None:
    for pod in (*release.of_component("gateway"), *release.of_component("triton")):
        name = "triton" if is_nvidias(pod) else {"gateway": "gateway", "triton": "triton-cpu"}[pod.component]
        text = dockerfile_of({"build": {"dockerfile": f"docker/{name}.Dockerfile"}})
        (user,) = (line.split()[1] for line in text.splitlines() if line.startswith("USER "))
        context = pod.spec["securityContext"]
        assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
