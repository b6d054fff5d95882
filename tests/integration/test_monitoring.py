"""Dashboard and alerts in a real Prometheus that scrapes real gateways: every expression finds something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chart import render
from tests.support.monitored import monitored
from tests.support.monitoring import Drawn, alerts, drawn, filled, selectors_in
from tests.support.prometheus import PrometheusServer, wait_until
from tests.support.redis import redis_at


@pytest.fixture(scope="module")
def prometheus(fake_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    folder = tmp_path_factory.mktemp("monitored")
    with redis_at(folder) as redis, monitored(folder, fake_repository, redis) as server:
        yield server


@pytest.mark.parametrize("each", drawn(), ids=str)
def test_what_the_dashboard_draws_is_there(prometheus: PrometheusServer, each: Drawn) -> None:
    assert prometheus.has(filled(each.expression))


@pytest.mark.parametrize("selector", sorted({found for rule in alerts() for found in selectors_in(rule["expr"])}))
def test_what_the_alerts_look_at_is_there(prometheus: PrometheusServer, selector: str) -> None:
    """An alert that looks at nothing would be silent for ever."""
    assert prometheus.ask(selector)


def test_prometheus_evaluates_every_alert(prometheus: PrometheusServer) -> None:
    def evaluated() -> bool:
        return all(rule["health"] != "unknown" for rule in prometheus.rules())

    wait_until(evaluated, "Prometheus does not evaluate the alerts")
    assert [(rule["name"], rule["health"]) for rule in prometheus.rules()] == [
        (each["alert"], "ok") for each in alerts()
    ]


def test_alerts_are_on_their_way_where_a_tower_is_away(prometheus: PrometheusServer) -> None:
    """What was done to the gateways is noticed, and nothing is that was not done."""

    def noticed() -> set[str]:
        return {rule["name"] for rule in prometheus.rules() if rule["state"] != "inactive"}

    wanted = {"QuorumDegraded", "QuorumBackboneDown", "QuorumErrors"}
    wait_until(lambda: wanted <= noticed(), "Prometheus does not notice that a tower is away")
    assert not noticed() & {"QuorumGatewayDown", "QuorumNoGateway", "QuorumStateDown", "QuorumJobStuck"}


def test_what_the_chart_scales_by_is_there(prometheus: PrometheusServer) -> None:
    keda = {"enabled": True, "keda": {"enabled": True, "serverAddress": prometheus.url}}
    scaled = render({"gateway": {"autoscaling": keda}, "pools": {"all": {"autoscaling": keda}}})
    triggers = [
        trigger["metadata"]
        for each in scaled
        if each["kind"] == "ScaledObject"
        for trigger in each["spec"]["triggers"]
        if trigger["type"] == "prometheus"
    ]
    assert len(triggers) == 2
    for trigger in triggers:
        assert prometheus.has(trigger["query"]), trigger["query"]


def test_the_dashboards_choices_are_there(prometheus: PrometheusServer) -> None:
    jobs = {labels["job"] for labels, _ in prometheus.ask('quorum_inflight_requests{namespace=~".*"}')}
    assert jobs == {"quorum"}
