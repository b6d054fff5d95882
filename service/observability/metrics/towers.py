"""Metrics of towers: batches, waits, what came of rows, and what the embedding cache spared them."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.observability.metrics.requests import SECONDS

ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class TowerMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._batch_rows = Histogram(
            "quorum_batch_rows", "Rows per executed batch.", ["tower"], buckets=ROWS, registry=registry
        )
        self._batch_seconds = Histogram(
            "quorum_batch_seconds", "Execution of a batch.", ["tower"], buckets=SECONDS, registry=registry
        )
        self._queue_seconds = Histogram(
            "quorum_queue_seconds", "A row's wait for a session.", ["tower"], buckets=SECONDS, registry=registry
        )
        self._tower_rows = Counter(
            "quorum_tower_rows_total",
            "Rows given to a tower by what came of them: answered, or the error's code.",
            ["tower", "outcome"],
            registry=registry,
        )
        self._cache = Counter("quorum_cache_lookups_total", "Embedding cache look-ups.", ["result"], registry=registry)
        self._triton_servers = Gauge(
            "quorum_triton_servers",
            "Triton servers by name; a name that stands for nobody counts as one.",
            registry=registry,
        )
        self._triton_connected = Gauge(
            "quorum_triton_servers_connected", "Of them, those with a checked connection.", registry=registry
        )

    def batch_done(self, tower: str, rows: int, seconds: float) -> None:
        self._batch_rows.labels(tower).observe(rows)
        self._batch_seconds.labels(tower).observe(seconds)

    def row_waited(self, tower: str, seconds: float) -> None:
        self._queue_seconds.labels(tower).observe(seconds)

    def rows_asked(self, tower: str, outcomes: Iterable[str]) -> None:
        """`answered` or an error's code, once per row."""
        for outcome, count in Counts(outcomes).items():
            self._tower_rows.labels(tower, outcome).inc(count)

    def cache_looked_up(self, hits: int, misses: int) -> None:
        self._cache.labels("hit").inc(hits)
        self._cache.labels("miss").inc(misses)

    def triton_servers(self, connected: int, known: int) -> None:
        self._triton_servers.set(known)
        self._triton_connected.set(connected)
