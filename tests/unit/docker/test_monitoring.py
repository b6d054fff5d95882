"""Dashboard, alerts and scraping: every expression speaks of metrics and labels that the gateway has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric

from service.observability.metrics import Metrics
from tests.support.compose import ROOT, read_yaml, services

DASHBOARDS = ROOT / "docker/grafana/dashboards"
PROVISIONING = ROOT / "docker/grafana/provisioning"
PROMETHEUS = ROOT / "docker/prometheus/prometheus.yml"
ALERTS = ROOT / "docker/prometheus/alerts.yml"
DASHBOARD: dict[str, Any] = json.loads((DASHBOARDS / "quorum.json").read_text(encoding="utf-8"))
SERIES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count"), "counter": ("_total",)}
FROM_PROMETHEUS = {"up": {"job", "instance"}}
EVERYWHERE = {"job", "instance"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def drawn() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def alerting() -> list[str]:
    return [rule["expr"] for group in read_yaml(ALERTS)["groups"] for rule in group["rules"]]


EXPRESSIONS = [*drawn(), *alerting()]


@pytest.fixture(scope="module")
def labels_of() -> dict[str, set[str]]:
    """By the name of each series that a gateway shows, the labels that it has."""
    metrics = Metrics()
    # No public call tells a metric's labels before it has samples.
    labelled = {
        name: set(collector._labelnames)
        for collector, names in metrics.registry._collector_to_names.items()
        for name in names
        if hasattr(collector, "_labelnames")
    }
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for series in series_of(family):
            found[series] = labelled[family.name] | EVERYWHERE | ({"le"} if series.endswith("_bucket") else set())
    return found | FROM_PROMETHEUS


def series_of(family: Metric) -> list[str]:
    return [family.name + suffix for suffix in SERIES.get(family.type, ("",))]


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:quorum_\w+|up)\b(?=[{\[\s)]|$)", expression))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_metrics_that_a_gateway_has(expression: str, labels_of: dict[str, set[str]]) -> None:
    assert metrics_in(expression)
    assert metrics_in(expression) <= labels_of.keys()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_labels_that_those_metrics_have(expression: str, labels_of: dict[str, set[str]]) -> None:
    grouped = [name.strip() for found in re.findall(r"\bby \(([^)]*)\)", expression) for name in found.split(",")]
    selected = re.findall(r"[{,]\s*(\w+)\s*(?:=|!=|=~|!~)", expression)
    for metric in metrics_in(expression):
        assert {*grouped, *selected} <= labels_of[metric], metric


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_legend_names_what_the_series_are_told_apart_by(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        kept = {name.strip() for found in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for name in found.split(",")}
        aggregated = bool(re.match(r"\(?(sum|min|max|histogram_quantile)\b", target["expr"]))
        wanted = kept - {"le"} if aggregated else {"instance"}
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) == wanted


def test_the_dashboard_shows_what_an_operator_asks_for(labels_of: dict[str, set[str]]) -> None:
    shown = {metric for expression in drawn() for metric in metrics_in(expression)}
    assert shown >= {
        "quorum_requests_total",
        "quorum_stage_seconds_bucket",
        "quorum_cascade_exits_total",
        "quorum_cascade_gflops_saved_total",
        "quorum_backbone_weight_sum",
        "quorum_cache_lookups_total",
        "quorum_errors_total",
        "quorum_state_up",
    }
    assert labels_of["quorum_requests_total"] >= {"method", "route", "status"}


def test_panels_have_numbers_of_their_own_and_do_not_lie_on_each_other() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_reads_the_source_that_is_provisioned() -> None:
    (source,) = read_yaml(PROVISIONING / "datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services()
    used = {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    assert used == {source["uid"]}
    (provider,) = read_yaml(PROVISIONING / "dashboards/quorum.yaml")["providers"]
    mounts = services()["grafana"]["volumes"]
    assert f"./docker/grafana/dashboards:{provider['options']['path']}:ro" in mounts


def test_prometheus_asks_services_that_there_are() -> None:
    config = read_yaml(PROMETHEUS)
    asked = {
        name for job in config["scrape_configs"] for each in job.get("dns_sd_configs", []) for name in each["names"]
    }
    asked |= {
        target.partition(":")[0]
        for job in config["scrape_configs"]
        for each in job.get("static_configs", [])
        for target in each["targets"]
    }
    assert asked == {"gateway", "triton", "proxy", "milvus"}
    assert asked <= services().keys()


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool (Debian's package prometheus)")
    return found


def check(promtool: str, what: str, path: Path) -> str:
    result = subprocess.run([promtool, "check", what, path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_prometheus_takes_its_configuration(promtool: str) -> None:
    assert f"{len(alerting())} rules found" in check(promtool, "config", PROMETHEUS)


def test_prometheus_parses_what_the_dashboard_asks(promtool: str, tmp_path: Path) -> None:
    """As recording rules, the form in which promtool looks at expressions."""
    rules = [
        {"record": f"drawn:{index}", "expr": expression.replace("$__rate_interval", "1m")}
        for index, expression in enumerate(drawn())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "drawn", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in check(promtool, "rules", path)
