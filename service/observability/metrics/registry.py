"""All metrics of one application."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from service.observability.metrics.answers import AnswerMetrics
from service.observability.metrics.cascades import CascadeMetrics
from service.observability.metrics.jobs import JobMetrics
from service.observability.metrics.keys import KeyMetrics
from service.observability.metrics.requests import RequestMetrics
from service.observability.metrics.stores import StoreMetrics
from service.observability.metrics.towers import TowerMetrics


class Metrics:
    """One registry per application, so that several can live in one process (tests do)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics(self.registry)
        self.answers = AnswerMetrics(self.registry)
        self.cascades = CascadeMetrics(self.registry)
        self.towers = TowerMetrics(self.registry)
        self.stores = StoreMetrics(self.registry)
        self.keys = KeyMetrics(self.registry)
        self.jobs = JobMetrics(self.registry)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
