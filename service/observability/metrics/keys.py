"""Metrics of API keys. Their names are few and the operator's own: they come from the keys file."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class KeyMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._rate_limited = Counter(
            "quorum_rate_limited_total", "Calls beyond a key's limit.", ["key", "limit"], registry=registry
        )
        self._current = Gauge(
            "quorum_keys_current",
            "1: the keys in force are those of the keys file. 0: it is broken, and those read before are.",
            registry=registry,
        )
        self._current.set(1)

    def rate_limited(self, key: str, limit: str) -> None:
        self._rate_limited.labels(key, limit).inc()

    def read(self, current: bool) -> None:
        self._current.set(current)
