"""Writes the table of metrics that is committed: `python -m tests.support.metrics_table docs/metrics.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric

from service.observability.metrics.registry import Metrics

HEAD = """# Metrics

What a gateway shows under `/metrics`, in Prometheus' text format. Labels carry routes, towers, stages and codes, and
the names of API keys, which are the operator's own; never ids, and nothing of an image or of what a caller asked. Each
gateway counts what it did itself: add them up.

There are [alerts](../helm/files/alerts.yml) on them, and a [dashboard](../helm/files/dashboard.json) for Grafana;
`compose.yaml` and the chart bring both.

| metric | kind | labels | meaning |
| --- | --- | --- | --- |
"""
SUFFIX = {"counter": "_total"}


def metrics_table() -> str:
    registry = Metrics().registry
    rows = [_row(family, labels) for family, labels in sorted(_families(registry), key=lambda each: each[0].name)]
    return HEAD + "\n".join(rows) + "\n"


def _families(registry: CollectorRegistry) -> list[tuple[Metric, tuple[str, ...]]]:
    # No public call tells a metric's labels before it has samples.
    collectors = {id(each): each for each in registry._names_to_collectors.values()}.values()
    return [(family, tuple(getattr(each, "_labelnames", ()))) for each in collectors for family in each.collect()]


def _row(family: Metric, labels: tuple[str, ...]) -> str:
    name = family.name + SUFFIX.get(family.type, "")
    shown = ", ".join(f"`{each}`" for each in labels) or "none"
    return f"| `{name}` | {family.type} | {shown} | {family.documentation} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(metrics_table(), encoding="utf-8")
