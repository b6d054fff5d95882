"""What pods are given: variables that expand, secrets that can be renewed, repositories that nobody writes to."""

from __future__ import annotations

import re

import pytest

from service.settings import Settings
from tests.support.chart import render
from tests.support.chart_cases import CASES
from tests.support.manifests import Manifest, Pod, Release

REFERENCE = re.compile(r"(?<!\$)\$\((\w+)\)")


def unexpanded(container: Manifest) -> list[str]:
    """References that Kubernetes would leave as they stand: to a variable that is not there before them."""
    known: set[str] = set()
    wrong: list[str] = []
    for each in container.get("env", []):
        wrong += [name for name in REFERENCE.findall(str(each.get("value", ""))) if name not in known]
        known.add(each["name"])
    words = [*container.get("command", []), *container.get("args", [])]
    return wrong + [name for word in words for name in REFERENCE.findall(word) if name not in known]


def test_references_to_variables_are_expanded(release: Release) -> None:
    for pod in release.pods:
        assert [name for each in pod.all_containers for name in unexpanded(each)] == []
    for each in release.of("ConfigMap"):  # in what comes from there nothing is
        if "dashboard" not in each["metadata"]["name"]:
            assert not any(REFERENCE.search(value) for value in each["data"].values())


@pytest.mark.parametrize(
    "container",
    [
        {"env": [{"name": "A", "value": "$(B)"}, {"name": "B", "value": "b"}]},
        {"args": ["--password", "$(B)"], "envFrom": [{"configMapRef": {"name": "a"}}]},
    ],
)
def test_a_reference_that_nothing_expands_is_noticed(container: Manifest) -> None:
    assert unexpanded(container) == ["B"]


def test_passwords_are_in_no_manifest_and_reach_both_ends() -> None:
    release = CASES["redis-with-passwords"].rendered()
    (gateway,) = release.of_component("gateway")
    for component, setting in (("redis-state", "QUORUM_STATE_URL"), ("redis-cache", "QUORUM_CACHE_URL")):
        (redis,) = release.of_component(component)
        (address,) = (each["value"] for each in gateway.containers[0]["env"] if each["name"] == setting)
        (reference,) = REFERENCE.findall(address)
        assert source(gateway, reference) == source(redis, REFERENCE.findall(" ".join(redis.containers[0]["args"]))[0])


def source(pod: Pod, variable: str) -> Manifest:
    (found,) = (each["valueFrom"] for each in pod.containers[0]["env"] if each["name"] == variable)
    return dict(found)


def test_the_file_of_keys_is_mounted_so_that_a_changed_secret_arrives() -> None:
    """A mount with a subPath never changes in a running pod."""
    release = CASES["keys-and-galleries"].rendered()
    (gateway,) = release.of_component("gateway")
    path = release.environment(gateway.containers[0])["QUORUM_API_KEYS_FILE"]
    (mount,) = (each for each in gateway.containers[0]["volumeMounts"] if path.startswith(each["mountPath"] + "/"))
    (volume,) = (each for each in gateway.spec["volumes"] if each["name"] == mount["name"])
    assert "subPath" not in mount
    assert mount["readOnly"] is True
    assert volume["secret"]["secretName"] == "quorum-keys"
    assert path.removeprefix(mount["mountPath"] + "/") in {each["path"] for each in volume["secret"]["items"]}


def test_gateways_and_pools_read_one_repository_and_write_to_none() -> None:
    release = CASES["repository-on-a-claim"].rendered()
    places = {"gateway": "/srv/quorum/model_repository", "triton": "/models"}
    for component, place in places.items():
        (pod,) = release.of_component(component)
        (mount,) = (each for each in pod.containers[0]["volumeMounts"] if each["mountPath"] == place)
        (volume,) = (each for each in pod.spec["volumes"] if each["name"] == mount["name"])
        assert (mount["readOnly"], mount["subPath"]) == (True, "2026-11")
        assert volume["persistentVolumeClaim"] == {"claimName": "zoo", "readOnly": True}
    assert Settings.model_fields["model_repository"].default.name == places["gateway"].rpartition("/")[2]


def test_without_a_claim_the_repository_of_the_images_is_hidden_by_nothing(release: Release) -> None:
    given = release.values["values"].get("modelRepository")
    for pod in release.pods:
        mounted = {each["mountPath"] for each in pod.containers[0].get("volumeMounts", [])}
        assert given or not mounted & {"/models", "/srv/quorum/model_repository", "/srv/quorum"}


def test_a_gateway_with_files_is_replaced_and_not_doubled() -> None:
    (gateway,) = CASES["onnx-gateways-alone"].rendered().of_component("gateway")
    assert gateway.owner["spec"]["strategy"] == {"type": "Recreate"}
    assert gateway.owner["spec"]["replicas"] == 1
    (var,) = (each for each in gateway.spec["volumes"] if each["name"] == "var")
    assert "persistentVolumeClaim" in var


@pytest.mark.parametrize("component", ["gateway", "triton"])
def test_what_is_recreated_has_nothing_of_a_rolling_update(component: str) -> None:
    """Kubernetes refuses both together, and Helm merges a value with the chart's own."""
    strategy = {"strategy": {"type": "Recreate"}}
    rolling = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}}}
    release = Release(render({"gateway": strategy, "poolDefaults": rolling, "pools": {"all": strategy}}))
    (pod,) = release.of_component(component)
    assert pod.owner["spec"]["strategy"] == {"type": "Recreate"}


def test_threads_are_counted_from_the_limit_on_cpus() -> None:
    limits = {"limits": {"cpu": "3", "memory": "4Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}
    release = Release(render({"gateway": {"resources": limits}, "poolDefaults": {"resources": limits}}))
    (gateway,) = release.of_component("gateway")
    assert release.environment(gateway.containers[0])["QUORUM_DECODE_THREADS"] == "3"
    (server,) = release.of_component("triton")
    assert "--cores=3" in server.containers[0]["args"]


def test_pods_are_told_of_no_services_but_their_own(release: Release) -> None:
    """Those of Services begin with their names: QUORUM_GATEWAY_PORT of a release called quorum looks like a setting."""
    assert all(pod.spec["enableServiceLinks"] is False for pod in release.pods)
