"""What the chart hands to the Prometheus operator and to Grafana's sidecar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart import Manifest, render
from tests.support.compose import read_yaml
from tests.support.monitoring import ALERTS, DASHBOARD, alerts, dashboard, selectors_in
from tests.support.prometheus import promtool

ON = {
    "monitoring": {
        "serviceMonitor": {"enabled": True, "interval": "7s", "labels": {"release": "watch"}},
        "rules": {"enabled": True, "labels": {"release": "watch"}},
        "dashboard": {"enabled": True},
    }
}
KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def the(kind: str, values: dict[str, Any] | None = None, release: str = "quorum", namespace: str = "prod") -> Manifest:
    (found,) = of_kind(render(ON | (values or {}), release=release, namespace=namespace), kind)
    return found


def dashboards(manifests: list[Manifest]) -> list[Manifest]:
    return [each for each in of_kind(manifests, "ConfigMap") if "quorum.json" in each["data"]]


def test_without_the_operator_nothing_of_it_is_asked_for() -> None:
    manifests = render()
    assert not [each for each in manifests if each["kind"] in KINDS]
    assert not dashboards(manifests)


@pytest.mark.parametrize("kind", KINDS)
def test_an_operator_that_looks_for_labels_finds_them(kind: str) -> None:
    assert the(kind)["metadata"]["labels"].items() >= {"release": "watch", "app.kubernetes.io/name": "quorum"}.items()
    assert the(kind)["metadata"]["namespace"] == "prod"


def test_the_gateways_service_is_scraped_under_the_installations_name() -> None:
    manifests = render(ON, release="prod")
    (monitor,) = of_kind(manifests, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    (service,) = [
        each for each in of_kind(manifests, "Service") if wanted.items() <= each["metadata"]["labels"].items()
    ]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert (endpoint["path"], endpoint["interval"]) == ("/metrics", "7s")
    assert {"targetLabel": "job", "replacement": "prod-quorum"} in endpoint["relabelings"]


def test_the_pods_of_every_pool_are_scraped() -> None:
    manifests = render(ON | {"pools": {"one": {}, "two": {}}}, release="prod")
    (monitor,) = of_kind(manifests, "PodMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    pods = [
        each["spec"]["template"]
        for each in manifests
        if "template" in each.get("spec", {})
        and wanted.items() <= each["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert {pod["metadata"]["labels"]["quorum/pool"] for pod in pods} == {"one", "two"}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for pod in pods:
        ports = [port["name"] for each in pod["spec"]["containers"] for port in each.get("ports", [])]
        assert ports.count(endpoint["port"]) == 1
    assert {"targetLabel": "job", "replacement": "prod-quorum-triton"} in endpoint["relabelings"]


def test_without_triton_there_are_no_pods_of_it_to_scrape() -> None:
    alone = {"engine": "onnx", "state": {"builtin": {"enabled": False}}, "cache": {"builtin": {"enabled": False}}}
    manifests = render(ON | alone, "values-minimal.yaml")
    assert of_kind(manifests, "ServiceMonitor")
    assert not of_kind(manifests, "PodMonitor")


def test_the_alerts_arrive_as_they_are_but_for_whom_they_speak_of() -> None:
    """What stands in braces is for Prometheus, and is not Helm's to fill in."""
    arrived = [rule for group in the("PrometheusRule", release="shop")["spec"]["groups"] for rule in group["rules"]]
    assert len(arrived) == len(alerts())
    for rule, original in zip(arrived, alerts(), strict=True):
        assert rule["annotations"] == original["annotations"]
        assert rule["labels"] == original["labels"] | {"namespace": "prod", "release": "shop"}
        assert rule["expr"] == original["expr"].replace(
            'job="triton"', 'job="shop-quorum-triton",namespace="prod"'
        ).replace('job="quorum"', 'job="shop-quorum",namespace="prod"')


@pytest.mark.parametrize("release", ["quorum", "triton", "shop"])
def test_an_alert_looks_at_the_jobs_that_the_monitors_name(release: str) -> None:
    manifests = render(ON | {"nameOverride": "q"}, release=release, namespace="prod")
    (gateways,), (pools,) = of_kind(manifests, "ServiceMonitor"), of_kind(manifests, "PodMonitor")
    jobs = {
        name: next(each["replacement"] for each in endpoint["relabelings"] if each["targetLabel"] == "job")
        for name, endpoint in {
            "quorum": gateways["spec"]["endpoints"][0],
            "nv": pools["spec"]["podMetricsEndpoints"][0],
        }.items()
    }
    (rules,) = of_kind(manifests, "PrometheusRule")
    for rule in [rule for group in rules["spec"]["groups"] for rule in group["rules"]]:
        for selector in selectors_in(rule["expr"]):
            job = jobs["nv" if selector.startswith("nv_") else "quorum"]
            assert f'{{job="{job}",namespace="prod"' in selector


def test_prometheus_takes_the_alerts_as_the_chart_has_them(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yml"
    path.write_text(yaml.safe_dump(the("PrometheusRule")["spec"]), encoding="utf-8")
    assert f"{len(alerts())} rules found" in promtool("check", "rules", path)


def test_the_dashboard_arrives_as_it_is() -> None:
    (found,) = dashboards(render(ON))
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["quorum.json"]) == dashboard()
    assert found["data"]["quorum.json"] == DASHBOARD.read_text(encoding="utf-8").rstrip("\n")


def test_there_is_one_copy_of_each() -> None:
    chart = ALERTS.parents[1]
    assert read_yaml(chart / "Chart.yaml")["name"] == "quorum"
    assert ALERTS.parent == DASHBOARD.parent == chart / "files"
