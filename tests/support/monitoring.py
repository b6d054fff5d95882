"""Dashboard and alerts as tests read them: their expressions, and what those name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tests.support.compose import ROOT, read_yaml, services

ALERTS: Final = ROOT / "helm/files/alerts.yml"
DASHBOARD: Final = ROOT / "helm/files/dashboard.json"
SCRAPING: Final = ROOT / "docker/prometheus/prometheus.yml"
VARIABLES: Final = {"$__rate_interval": "1m", "$job": "quorum", "$namespace": ".*"}
"""What Grafana puts in place of each, where one installation without namespaces is looked at."""

METRIC: Final = re.compile(r"\b(?:quorum_\w+|nv_\w+|up)\b(?=[{\[\s)]|$)")
SELECTOR: Final = re.compile(r"\b((?:quorum_|nv_)\w+|up)\b(?:\{([^}]*)\})?")
GROUPING: Final = re.compile(r"\bby \(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class Drawn:
    """One expression of a panel."""

    panel: str
    expression: str
    legend: str

    def __str__(self) -> str:
        return f"{self.panel}: {self.expression}"


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    """Those that draw; rows are headings."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def drawn() -> list[Drawn]:
    return [
        Drawn(panel["title"], target["expr"], target["legendFormat"])
        for panel in panels()
        for target in panel["targets"]
    ]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in read_yaml(ALERTS)["groups"] for rule in group["rules"]]


def filled(expression: str) -> str:
    """With the dashboard's variables as Grafana fills them in."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def metrics_in(expression: str) -> set[str]:
    return set(METRIC.findall(expression))


def selectors_in(expression: str) -> set[str]:
    """Each with its braces, so that it can be asked for by itself."""
    return {f"{name}{{{labels}}}" for name, labels in SELECTOR.findall(expression)}


def grouped_by(expression: str) -> set[str]:
    return {name.strip() for found in GROUPING.findall(expression) for name in found.split(",")}


def mounted(service: str, path: str) -> Path:
    """The file of the checkout that a container of compose.yaml sees at `path`."""
    for mount in services()[service]["volumes"]:
        source, target, *_ = mount.split(":")
        if source.startswith(".") and PurePosixPath(path).is_relative_to(target):
            beside: Path = ROOT / source / PurePosixPath(path).relative_to(target)
            return beside
    raise AssertionError(f"{service} has nothing at {path}")
