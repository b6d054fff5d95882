"""values.schema.json: it knows each value, describes it, and refuses what is wrong in words that name it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path as File
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.support.chart import CHART, VALUES_FILES, helm, of_files, read_yaml, refusal, render
from tests.support.chart_cases import KEDA

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS: dict[str, Any] = read_yaml(CHART / "values.yaml")
TYPES: dict[type, set[str]] = {
    bool: {"boolean"},
    int: {"integer", "number"},
    float: {"number"},
    str: {"string"},
    list: {"array"},
    dict: {"object"},
}
Path = tuple[str, ...]


def resolved(node: Mapping[str, Any]) -> dict[str, Any]:
    """With what it refers to merged into it; what it says itself goes first."""
    merged: dict[str, Any] = {}
    references = [node["$ref"]] if "$ref" in node else []
    for part in [*node.get("allOf", []), *({"$ref": each} for each in references)]:
        if "$ref" in part:
            part = SCHEMA["definitions"][part["$ref"].rpartition("/")[2]]
        merged = {**merged, **resolved(part)}
    return {**merged, **node}


def objects(node: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every part of the schema that describes a map, with the way to it."""
    node = resolved(node)
    if "properties" in node or node.get("type") == "object":
        yield path, node
    for name, each in node.get("properties", {}).items():
        yield from objects(each, (*path, name))
    for each in node.get("patternProperties", {}).values():
        yield from objects(each, (*path, "*"))


def written(values: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, value in values.items():
        yield (*path, name), value
        if isinstance(value, dict):
            yield from written(value, (*path, name))


def schema_of(path: Path) -> dict[str, Any] | None:
    """What the schema says of a value; None where it knows none of this name."""
    node = resolved(SCHEMA)
    for name in path:
        known = {**dict.fromkeys([name], next(iter(node.get("patternProperties", {}).values()), None))}
        found = node.get("properties", {}).get(name) or known[name]
        if found is None and isinstance(node.get("additionalProperties"), dict):
            found = node["additionalProperties"]
        if found is None:
            return None
        node = resolved(found)
    return node


def is_free(path: Path) -> bool:
    """Inside of a map whose names are Kubernetes' or the user's: only the map itself is described."""
    return any((schema_of(path[:end]) or {}).get("properties") is None for end in range(1, len(path)))


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)


OBJECTS = dict(objects(SCHEMA))


@pytest.mark.parametrize("path", OBJECTS, ids=".".join)
def test_a_map_takes_no_names_that_it_does_not_know(path: Path) -> None:
    node = OBJECTS[path]
    if "properties" in node:
        assert node["additionalProperties"] is False
    else:  # a free map: at least what is in it is said
        assert node.get("patternProperties") or isinstance(node.get("additionalProperties"), dict)


@pytest.mark.parametrize("path", OBJECTS, ids=".".join)
def test_every_value_is_described(path: Path) -> None:
    for name, node in OBJECTS[path].get("properties", {}).items():
        words = resolved(node).get("description", "")
        assert words.endswith("."), f"{'.'.join((*path, name))}: {words!r}"


DESCRIBED = {path: value for path, value in written(DEFAULTS) if not is_free(path)}


@pytest.mark.parametrize("path", DESCRIBED, ids=".".join)
def test_every_default_is_known_with_its_type(path: Path) -> None:
    value, node = DESCRIBED[path], schema_of(path)
    assert node is not None, "the schema does not know it"
    types = node.get("type", [])
    if not types and "enum" in node:
        assert value in node["enum"]
    else:
        assert {types} & TYPES[type(value)] if isinstance(types, str) else set(types) & TYPES[type(value)]


def test_every_value_that_the_schema_knows_has_a_default() -> None:
    defaults = dict(written(DEFAULTS))
    for path, node in OBJECTS.items():
        if path[:2] == ("pools", "*"):
            path = ("poolDefaults", *path[2:])
        if path and isinstance(defaults.get(path), dict):
            for name in node.get("properties", {}):
                if not is_free((*path, name)) and defaults[path]:
                    assert (*path, name) in defaults or path[-1] == "resources", f"{'.'.join((*path, name))} has none"


@pytest.mark.parametrize(
    "files", [(), *((name,) for name in VALUES_FILES)], ids=lambda files: files[0] if files else ""
)
def test_lint_finds_nothing(files: tuple[str, ...]) -> None:
    said = helm("lint", "--strict", CHART, *of_files(files))
    assert "0 chart(s) failed" in said
    assert not {"[WARNING]", "[ERROR]"} & set(said.split())


def test_there_is_a_values_file_for_each_way_on() -> None:
    assert {"values-gpu.yaml", "values-minimal.yaml", "values-production.yaml"} <= set(VALUES_FILES)


INGRESS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]


def _without_redis(url: str) -> dict[str, Any]:
    return {"state": {"builtin": {"enabled": False}, "url": url}}


def _at(dotted: str, value: Any) -> dict[str, Any]:
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return dict(value)


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("gatway", {}, "gatway"),
        ("gateway.replcas", 3, "replcas"),
        ("gateway.replicas", "three", "/gateway/replicas"),
        ("gateway.replicas", -1, "/gateway/replicas"),
        ("gateway.resources.requests.cpus", 1, "cpus"),
        ("gateway.settings.max_images", 3, "max_images"),
        ("gateway.autoscaling.maxReplicas", 0, "/gateway/autoscaling/maxReplicas"),
        ("gateway.autoscaling.targetCPUUtilizationPercentage", 0, "targetCPUUtilizationPercentage"),
        ("gateway.image.digest", "sha256:12", "/gateway/image/digest"),
        ("gateway.image.tag", 1.0, "/gateway/image/tag"),
        ("gateway.service.port", 70_000, "/gateway/service/port"),
        ("gateway.service.type", "Cluster", "/gateway/service/type"),
        ("gateway.ingress.enabled", "yes", "/gateway/ingress/enabled"),
        ("gateway.terminationGracePeriodSeconds", "1m", "terminationGracePeriodSeconds"),
        ("gateway.tolerations", {}, "/gateway/tolerations"),
        ("image.pullPolicy", "Sometimes", "/image/pullPolicy"),
        ("engine", "tensorrt", "/engine"),
        ("engine", "fake", "/engine"),
        ("pools.all.hardware", "tpu", "/pools/all/hardware"),
        ("pools.all.gpu", 1, "gpu"),
        ("pools.all.gpus", 0, "/pools/all/gpus"),
        ("pools.All", {}, "All"),
        ("pools.all.backbones", "resnet-photo", "/pools/all/backbones"),
        ("poolDefaults.sharedMemory", "much", "/poolDefaults/sharedMemory"),
        ("state.url", "http://redis:6379", "/state/url"),
        ("cache.builtin.enable", True, "enable"),
        ("galleries.url", "milvus", "/galleries/url"),
        ("networkPolicy.ingressFrom", "all", "/networkPolicy/ingressFrom"),
        ("monitoring.serviceMonitor.interval", 15, "/monitoring/serviceMonitor/interval"),
        ("tests.waitSeconds", -1, "/tests/waitSeconds"),
        ("nameOverride", "With Spaces", "/nameOverride"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(where: str, value: Any, words: str) -> None:
    said = refusal(_at(where, value))
    assert words in said or words.strip("/").replace("/", ".") in said  # Helm 3 writes the way with dots


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (_at("gateway.terminationGracePeriodSeconds", 30), ["gateway.terminationGracePeriodSeconds", "preStopSeconds"]),
        (_at("gateway.settings.DRAIN_TIMEOUT_S", 60), ["terminationGracePeriodSeconds", "DRAIN_TIMEOUT_S (60)"]),
        (_at("gateway.terminationGracePeriodSeconds", 43), ["must be 44", "DRAIN_DELAY_S (3)", "6 for closing"]),
        (_at("gateway.settings.DRAIN_DELAY_S", 20), ["terminationGracePeriodSeconds", "DRAIN_DELAY_S (20)"]),
        (_at("gateway.pdb.maxUnavailable", "51%"), ["gateway.pdb.maxUnavailable is 51%", "all 2"]),
        (_at("gateway.pdb.maxUnavailable", 2), ["gateway.pdb.maxUnavailable is 2", "all 2"]),
        (_at("state.builtin.maxMemory", "512mb"), ["512mb", "512Mi", "state.builtin.resources.limits.memory"]),
        (_at("cache.builtin.resources.limits.memory", 400_000_000), ["cache.builtin.maxMemory is 384mb"]),
        ({"commonLabels": {"app.kubernetes.io/name": "a"}}, ["commonLabels.app.kubernetes.io/name"]),
        ({"commonLabels": {"grafana_dashboard": "0"}}, ["commonLabels.grafana_dashboard"]),
        (_at("gateway.settings.CLIENT_API_KEY", "abc"), ["ConfigMap", "tests.apiKeySecret"]),
        (_at("gateway.tracing.endpoint", "http://u:p@collector:4318"), ["ConfigMap", "OTEL_EXPORTER_OTLP_HEADERS"]),
        (_at("galleries.url", "http://root:p@milvus:19530"), ["ConfigMap", "galleries.tokenSecret"]),
        (_without_redis("redis://:pass/word@redis:6379/0"), ["state.urlSecret"]),
        (_without_redis("redis://redis:6379/0?password=word"), ["state.urlSecret"]),
        (
            {"networkPolicy": {"ingressFrom": INGRESS}, "monitoring": {"serviceMonitor": {"enabled": True}}},
            ["networkPolicy.metricsFrom", "same port"],
        ),
        (
            {"networkPolicy": {"ingressFrom": INGRESS}, "gateway": {"autoscaling": {"keda": KEDA}}},
            ["networkPolicy.metricsFrom"],
        ),
        (_at("pools.all.terminationGracePeriodSeconds", 20), ["pools.all.terminationGracePeriodSeconds"]),
        (_at("gateway.autoscaling.minReplicas", 9), ["minReplicas (9)", "maxReplicas (6)"]),
        (_at("gateway.autoscaling.keda.enabled", True), ["serverAddress"]),
        (_at("gateway.settings.ENGINE", "fake"), ["gateway.settings.ENGINE", "engine"]),
        (_at("gateway.settings.STATE_URL", "redis://a:1/0"), ["gateway.settings.STATE_URL", "state"]),
        (_at("gateway.extraEnv", [{"name": "QUORUM_PORT", "value": "1"}]), ["QUORUM_PORT", "gateway.service.port"]),
        (_at("state.url", "redis://redis:6379/0"), ["state.builtin.enabled=false"]),
        (_at("state", {"builtin": {"enabled": False}, "url": "redis://:secret@redis:6379/0"}), ["state.urlSecret"]),
        (_at("state.builtin.enabled", False), ["gateway.replicas=1"]),
        (_at("gateway.persistence.enabled", True), ["gateway.persistence", "single gateway"]),
        (_at("pools.all", {"hardware": "gpu", "autoscaling": {"enabled": True}}), ["keda.enabled=true"]),
        (_at("gateway.ingress.enabled", True), ["gateway.ingress.hosts"]),
        (_at("gateway.httpRoute.enabled", True), ["gateway.httpRoute.parentRefs"]),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_what_would_mend_it(
    values: dict[str, Any], words: list[str]
) -> None:
    said = refusal(values)
    assert [each for each in words if each not in said] == []


def test_a_password_in_an_address_is_not_repeated() -> None:
    said = refusal({"state": {"builtin": {"enabled": False}, "url": "redis://:geheim@redis:6379/0"}})
    assert "geheim" not in said


def test_a_pool_is_taken_out_by_null() -> None:
    left = render({"pools": {"all": None, "b": {}}})
    pools = {each["metadata"]["labels"].get("quorum/pool") for each in left if each["kind"] == "Deployment"}
    assert pools == {None, "b"}


@pytest.mark.parametrize("enabled", [True, False])
def test_it_can_be_a_part_of_another_chart_that_switches_it(tmp_path: File, enabled: bool) -> None:
    """What a `condition` reads is handed to the part, and so is `global`."""
    shutil.copytree(CHART, tmp_path / "charts/quorum")
    part = {"name": "quorum", "version": "0.1.0", "condition": "quorum.enabled"}
    about = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [part]}
    (tmp_path / "Chart.yaml").write_text(json.dumps(about), encoding="utf-8")
    values = {"global": {"team": "a"}, "quorum": {"enabled": enabled, "gateway": {"settings": {"MAX_IMAGES": 7}}}}
    assert ("QUORUM_MAX_IMAGES" in helm("template", "a", tmp_path, values=values)) is enabled


def test_half_of_the_gateways_may_be_away() -> None:
    (budget,) = (each for each in render(_at("gateway.pdb.maxUnavailable", "50%")) if "Budget" in each["kind"])
    assert budget["spec"]["maxUnavailable"] == "50%"


def test_who_may_read_metrics_can_be_named_beside_who_may_ask() -> None:
    policy = {"ingressFrom": INGRESS, "metricsFrom": INGRESS}
    assert render({"networkPolicy": policy, "monitoring": {"serviceMonitor": {"enabled": True}}})
