"""Metrics of cascades: where images leave, what that saves, and whether the promises hold. No label names a cascade."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge


class Disagreement(Protocol):
    """What is known of one cascade's promise: shares of answers that were not the full committee's."""

    @property
    def observed(self) -> float: ...

    @property
    def lower_bound(self) -> float: ...

    @property
    def excess(self) -> float: ...


class CascadeMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._exits = Counter(
            "quorum_cascade_exits_total",
            "Images answered by a cascade, by the number of stages that they took.",
            ["stage"],
            registry=registry,
        )
        self._saved = Counter(
            "quorum_cascade_gflops_saved_total",
            "Cost of the backbones that were not asked because an image left its cascade early.",
            registry=registry,
        )
        self._checks = Counter(
            "quorum_shadow_checks_total",
            "Sampled answers of cascades by what came of asking the full committee.",
            ["outcome"],
            registry=registry,
        )
        self._work = Counter("quorum_shadow_gflops_total", "Work done for shadow checks.", registry=registry)
        self._alerts = Counter(
            "quorum_shadow_alerts_total",
            "Cascades that were found to disagree more often than they promise.",
            registry=registry,
        )
        of_worst = "of the cascade that speaks most against its promise; NaN while none was used."
        self._observed = Gauge(
            "quorum_shadow_disagreement_ratio",
            f"Share of checked answers that were not the full committee's, {of_worst}",
            registry=registry,
        )
        self._lower_bound = Gauge(
            "quorum_shadow_disagreement_lower_bound_ratio", f"Lower bound of that share, {of_worst}", registry=registry
        )
        self._excess = Gauge(
            "quorum_shadow_excess_ratio",
            f"That lower bound minus the promised epsilon (above 0: an alert), {of_worst}",
            registry=registry,
        )

    def left(self, stages: int, gflops_saved: float) -> None:
        """One image, after so many stages."""
        self._exits.labels(str(stages)).inc()
        self._saved.inc(gflops_saved)

    def shadow_checked(self, outcome: str) -> None:
        self._checks.labels(outcome).inc()

    def shadow_worked(self, gflops: float) -> None:
        self._work.inc(gflops)

    def shadow_alerted(self) -> None:
        self._alerts.inc()

    def watch(self, worst: Callable[[], Disagreement | None]) -> None:
        """`worst` is asked at every scrape for the cascade that speaks most against its promise."""

        def of_worst(value: Callable[[Disagreement], float]) -> Callable[[], float]:
            return lambda: math.nan if (found := worst()) is None else value(found)

        self._observed.set_function(of_worst(lambda found: found.observed))
        self._lower_bound.set_function(of_worst(lambda found: found.lower_bound))
        self._excess.set_function(of_worst(lambda found: found.excess))
