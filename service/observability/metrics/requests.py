"""Metrics of requests: how many, how long, how they failed."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class RequestMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "quorum_requests_total", "Answered requests.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "quorum_request_seconds", "From first byte to answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self._stage_seconds = Histogram(
            "quorum_stage_seconds", "Stages of a request.", ["stage"], buckets=SECONDS, registry=registry
        )
        self._errors = Counter("quorum_errors_total", "Errors by their code.", ["code"], registry=registry)
        self._inflight = Gauge("quorum_inflight_requests", "Requests holding a permit.", registry=registry)

    def done(self, method: str, route: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        for stage, stage_seconds in stages.items():
            self._stage_seconds.labels(stage).observe(stage_seconds)

    def error(self, code: str) -> None:
        self._errors.labels(code).inc()

    def inflight_changed(self, count: int) -> None:
        self._inflight.set(count)
