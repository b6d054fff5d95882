"""Metrics of cascades, none of which says whose."""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.observability.metrics.registry import Metrics
from tests.support.asgi import metric


@dataclass
class Known:
    observed: float
    lower_bound: float
    excess: float


def test_exits_and_savings_are_counted() -> None:
    metrics = Metrics()
    metrics.cascades.left(1, 1.5)
    metrics.cascades.left(1, 1.25)
    metrics.cascades.left(3, 0.0)
    text = metrics.render().decode()
    assert metric(text, "quorum_cascade_exits_total", stage=1) == 2
    assert metric(text, "quorum_cascade_exits_total", stage=3) == 1
    assert metric(text, "quorum_cascade_gflops_saved_total") == 2.75


def test_shadow_checks_are_counted_by_what_came_of_them() -> None:
    metrics = Metrics()
    for outcome in ("agreed", "agreed", "disagreed", "failed", "dropped"):
        metrics.cascades.shadow_checked(outcome)
    metrics.cascades.shadow_worked(2.5)
    metrics.cascades.shadow_alerted()
    text = metrics.render().decode()
    counts = {
        each: metric(text, "quorum_shadow_checks_total", outcome=each) for each in ("agreed", "failed", "dropped")
    }
    assert counts == {"agreed": 2, "failed": 1, "dropped": 1}
    assert metric(text, "quorum_shadow_gflops_total") == 2.5
    assert metric(text, "quorum_shadow_alerts_total") == 1


def test_the_worst_cascade_is_asked_for_at_every_scrape() -> None:
    metrics, known = Metrics(), [None, Known(0.05, 0.03, 0.01), Known(0.5, 0.4, 0.38)]
    metrics.cascades.watch(lambda: known[0])
    names = ("disagreement_ratio", "disagreement_lower_bound_ratio", "excess_ratio")

    def scraped() -> list[float]:
        text = metrics.render().decode()
        return [metric(text, f"quorum_shadow_{name}") for name in names]

    assert all(math.isnan(value) for value in scraped())
    del known[0]
    assert scraped() == [0.05, 0.03, 0.01]
    del known[0]
    assert scraped() == [0.5, 0.4, 0.38]
