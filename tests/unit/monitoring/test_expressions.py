"""Every expression of dashboard and alerts speaks of metrics and labels that the gateway has."""

from __future__ import annotations

import re

import pytest
from prometheus_client import Metric

from service.observability.metrics.registry import Metrics
from tests.support.monitoring import alerts, drawn, grouped_by, metrics_in, selectors_in

SERIES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count"), "counter": ("_total",)}
BY_SCRAPING = {"job", "instance", "namespace"}
"""`namespace` is there where the Prometheus operator scrapes."""

FOREIGN = {
    "up": BY_SCRAPING,
    "nv_inference_queue_duration_us": {"model", "version"} | BY_SCRAPING,
    "nv_inference_request_success": {"model", "version"} | BY_SCRAPING,
    "nv_inference_count": {"model", "version"} | BY_SCRAPING,
}
DRAWN = [each.expression for each in drawn()]
ALERTING = [rule["expr"] for rule in alerts()]
EXPRESSIONS = [*DRAWN, *ALERTING]


@pytest.fixture(scope="module")
def labels_of() -> dict[str, set[str]]:
    """By the name of each series that is scraped, the labels that it has."""
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
            found[series] = labelled[family.name] | BY_SCRAPING | ({"le"} if series.endswith("_bucket") else set())
    return found | FOREIGN


def series_of(family: Metric) -> list[str]:
    return [family.name + suffix for suffix in SERIES.get(family.type, ("",))]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_metrics_that_there_are(expression: str, labels_of: dict[str, set[str]]) -> None:
    assert metrics_in(expression)
    assert metrics_in(expression) <= labels_of.keys()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_labels_that_those_metrics_have(expression: str, labels_of: dict[str, set[str]]) -> None:
    selected = {
        name for selector in selectors_in(expression) for name in re.findall(r"[{,]\s*(\w+)\s*(?:=|!=|=~|!~)", selector)
    }
    for metric in metrics_in(expression):
        assert grouped_by(expression) - {"le"} <= labels_of[metric], metric
    for selector in selectors_in(expression):
        metric = selector.partition("{")[0]
        named = set(re.findall(r"[{,]\s*(\w+)\s*(?:=|!=|=~|!~)", selector))
        assert named <= labels_of[metric], selector
    assert selected


@pytest.mark.parametrize("expression", ALERTING)
def test_an_alert_looks_at_one_installation(expression: str) -> None:
    """The chart puts a release's own names in place of these two, so that one alert speaks of one release."""
    for selector in selectors_in(expression):
        job = "triton" if selector.startswith("nv_") else "quorum"
        assert f'{{job="{job}"' in selector


@pytest.mark.parametrize("expression", DRAWN)
def test_what_is_drawn_can_be_narrowed_to_an_installation(expression: str) -> None:
    for selector in selectors_in(expression):
        job = "triton|.+-triton" if selector.startswith("nv_") else "$job"
        assert f'{{job=~"{job}",namespace=~"$namespace"' in selector


def test_a_bucket_that_is_named_is_one_that_there_is() -> None:
    metrics = Metrics()
    metrics.requests.done("POST", "/v1/classify", 200, 0.1, {})
    bounds = set(re.findall(r'request_seconds_bucket{le="([^"]+)"', metrics.render().decode()))
    named = {bound for each in EXPRESSIONS for bound in re.findall(r'le="([^"]+)"', each)}
    assert named
    assert named <= bounds
