"""What a change of values replaces: pods when what they read at their start changed, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.chart import CHART, helm, render
from tests.support.manifests import SCALED, Manifest, Release, title

TEMPLATES = dict[str, Manifest]


def templates(values: Mapping[str, Any], *files: str) -> TEMPLATES:
    """Pod templates by workload: Kubernetes replaces pods exactly when theirs changed."""
    release = Release(render(values, *files))
    return {title(each): each["spec"]["template"] for each in release.of(*SCALED)}


def replaced(values: Mapping[str, Any]) -> set[str]:
    before, after = templates({}), templates(values)
    return {name for name in before.keys() & after.keys() if before[name] != after[name]}


GATEWAYS = "Deployment/quorum-gateway"
OTHERS = ("Deployment/quorum-triton-all", "Deployment/quorum-cache", "StatefulSet/quorum-state")
LABELLED = {"commonLabels": {"example.com/team": "a"}, "monitoring": {"rules": {"enabled": True}}}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"gateway": {"settings": {"MAX_IMAGES": 32}}}, {GATEWAYS}),
        ({"galleries": {"url": "http://milvus:19530"}}, {GATEWAYS}),
        ({"pools": {"all": {}, "another": {}}}, {GATEWAYS}),
        ({"gateway": {"autoscaling": {"maxReplicas": 9}}}, set()),
        ({"gateway": {"service": {"annotations": {"a": "b"}}}}, set()),
        ({"gateway": {"pdb": {"enabled": False}}}, set()),
        ({"networkPolicy": {"enabled": False}}, set()),
        ({"monitoring": {"serviceMonitor": {"enabled": True}}}, set()),
        ({"pools": {"all": {"replicas": 3}}}, set()),
        ({"pools": {"all": {"sharedMemory": "1Gi"}}}, {"Deployment/quorum-triton-all"}),
        ({"state": {"builtin": {"maxMemory": "100mb"}}}, {"StatefulSet/quorum-state"}),
        ({"cache": {"builtin": {"maxMemory": "100mb"}}}, {"Deployment/quorum-cache"}),
        ({"tests": {"waitSeconds": 60}}, set()),
        ({"commonLabels": {"team": "a"}}, {GATEWAYS, *OTHERS}),
    ],
)
def test_a_change_replaces_the_pods_that_it_is_about(values: dict[str, Any], names: set[str]) -> None:
    assert replaced(values) == names


def test_labels_of_ones_own_are_on_every_object_and_pod() -> None:
    """Clusters' policies ask for some. In what cannot be changed later (selectors, a claim's template) they are not."""
    release = Release(render(LABELLED))
    for each in release.manifests:
        assert each["metadata"]["labels"]["example.com/team"] == "a", title(each)
    of_scaled = [each["spec"]["template"]["metadata"]["labels"] for each in release.of(*SCALED)]
    assert {labels.get("example.com/team") for labels in of_scaled} == {"a"}
    (state,) = release.of("StatefulSet")
    (claim,) = state["spec"]["volumeClaimTemplates"]
    assert "example.com/team" not in claim["metadata"]["labels"]


def checksums(values: Mapping[str, Any]) -> dict[str, str]:
    found = templates(values)[GATEWAYS]["metadata"]["annotations"]
    return {name: value for name, value in found.items() if name.startswith("checksum/")}


def test_the_checksum_is_of_the_settings() -> None:
    changed = checksums({"gateway": {"settings": {"MAX_IMAGES": 32}}})
    assert len(changed) == 1
    assert changed != checksums({})
    assert checksums({"gateway": {"podAnnotations": {"a": "b"}}}) == checksums({})


@pytest.mark.parametrize("values", [{}, {"pools": {"all": {"replicas": 2}}}, {"engine": "onnx"}, LABELLED])
def test_a_new_version_of_the_chart_changes_no_selector(values: dict[str, Any]) -> None:
    """Selectors cannot be changed in place; what changes with versions must not be in one."""
    for each in Release(render(values)).of(*SCALED):
        wanted = each["spec"]["selector"]["matchLabels"]
        assert wanted.keys() <= {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/component",
            "quorum/pool",
        }
        for claim in each["spec"].get("volumeClaimTemplates", []):
            assert not claim["metadata"].get("labels", {}).keys() & {"helm.sh/chart", "app.kubernetes.io/version"}


def test_versions_are_in_no_pod_so_that_a_chart_of_the_same_images_replaces_none() -> None:
    for template in templates({}).values():
        assert not template["metadata"]["labels"].keys() & {"helm.sh/chart", "app.kubernetes.io/version"}


def test_rendering_is_the_same_each_time() -> None:
    """Nothing is drawn by chance, so that an upgrade without a change changes nothing."""
    assert helm("template", "quorum", CHART) == helm("template", "quorum", CHART)


def test_scale_down_is_slower_than_scale_up() -> None:
    for scaler in Release(render({"poolDefaults": {"autoscaling": {"enabled": True}}})).of("HorizontalPodAutoscaler"):
        behaviour = scaler["spec"]["behavior"]
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] >= 300
        assert behaviour["scaleUp"].get("stabilizationWindowSeconds", 0) < 300
