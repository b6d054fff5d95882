"""Autoscalers: what they ask Prometheus parses, is about their own pods, and names families that are there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from service.observability.metrics.registry import Metrics
from tests.support.chart import render
from tests.support.chart_cases import CASES, KEDA
from tests.support.manifests import Manifest, Release, title
from tests.support.prometheus import promtool

TRITONS = {"nv_inference_queue_duration_us", "nv_inference_request_success"}
"""Of Triton's own metrics (its documentation, `metrics.md`)."""


def triggers(release: Release, kind: str) -> dict[str, list[Manifest]]:
    return {
        title(scaler): [each for each in scaler["spec"]["triggers"] if each["type"] == kind]
        for scaler in release.of("ScaledObject")
    }


def queries() -> dict[str, str]:
    """By the name of the scaled Deployment."""
    found = triggers(CASES["pools-by-keda"].rendered(), "prometheus")
    return {name.partition("/")[2]: each["metadata"]["query"] for name, (each,) in found.items()}


def test_what_keda_asks_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries().values())]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "keda", "rules": rules}]}), encoding="utf-8")
    assert len(rules) == 3
    assert "3 rules found" in promtool("check", "rules", path)


def test_what_keda_asks_for_is_counted() -> None:
    families = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    families |= {family.name + end for family in Metrics().registry.collect() for end in ("_sum", "_count", "_total")}
    for query in queries().values():
        names = set(re.findall(r"(\w+)\{", query))
        assert names
        assert names <= families | TRITONS


@pytest.mark.parametrize("name", ["quorum-gateway", "quorum-triton-all", "quorum-triton-gpu"])
def test_keda_asks_about_the_pods_that_it_scales_alone(name: str) -> None:
    patterns = {re.compile(each) for each in re.findall(r'pod=~"([^"]+)"', queries()[name])}
    assert patterns
    for other in ("quorum-gateway", "quorum-triton-all", "quorum-triton-all-b", "quorum-triton-gpu"):
        pod = f"{other}-6c9f7d5b8-x7k2p"
        assert {bool(each.fullmatch(pod)) for each in patterns} == {other == name}
    assert set(re.findall(r'namespace="([^"]+)"', queries()[name])) == {"quorum"}


def test_a_gpu_is_not_scaled_by_its_hosts_cpu() -> None:
    by_cpu = {name: bool(each) for name, each in triggers(CASES["pools-by-keda"].rendered(), "cpu").items()}
    assert by_cpu == {
        "ScaledObject/quorum-gateway": True,
        "ScaledObject/quorum-triton-all": True,
        "ScaledObject/quorum-triton-gpu": False,
    }


def test_a_query_of_ones_own_is_asked_as_it_stands() -> None:
    mine = 'max(up{job="a"})'
    scaling = {"enabled": True, "keda": {**KEDA, "query": mine}}
    release = Release(render({"gateway": {"autoscaling": scaling}}))
    (trigger,) = triggers(release, "prometheus")["ScaledObject/quorum-gateway"]
    assert trigger["metadata"]["query"] == mine


def test_keda_and_the_hpa_never_own_one_deployment(release: Release) -> None:
    hpas = {each["spec"]["scaleTargetRef"]["name"] for each in release.of("HorizontalPodAutoscaler")}
    assert not hpas & {each["spec"]["scaleTargetRef"]["name"] for each in release.of("ScaledObject")}


def test_an_upgrade_to_keda_is_not_refused_for_the_hpa_that_it_takes_away(release: Release) -> None:
    """Helm makes what is new before it takes away what is gone, and KEDA's webhook looks at every HPA there is."""
    for each in release.of("HorizontalPodAutoscaler"):
        assert each["metadata"]["annotations"]["validations.keda.sh/hpa-ownership"] == "false"
