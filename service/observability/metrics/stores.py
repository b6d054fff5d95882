"""Metrics of what gateways share in Redis: state, embeddings, rate limits."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class StoreMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._state_up = Gauge(
            "quorum_state_up",
            "1: the state can be used, when it was last tried. 0: it is away, or refuses.",
            registry=registry,
        )
        self._state_up.set(1)
        self._cache_tier_hits = Counter(
            "quorum_cache_tier_hits_total", "Embeddings found, by where.", ["tier"], registry=registry
        )
        self._shared_cache_failures = Counter(
            "quorum_shared_cache_failures_total", "Failures of the embedding cache in Redis.", registry=registry
        )
        self._shared_cache_dropped = Counter(
            "quorum_shared_cache_dropped_total", "Embeddings not written to Redis.", registry=registry
        )
        self._rate_limit_failures = Counter(
            "quorum_rate_limit_failures_total",
            "Failures of the shared rate limits; the process's own judged.",
            registry=registry,
        )

    def state_up(self, up: bool) -> None:
        self._state_up.set(up)

    def cache_tier_hit(self, tier: str, count: int) -> None:
        self._cache_tier_hits.labels(tier).inc(count)

    def shared_cache_failed(self) -> None:
        self._shared_cache_failures.inc()

    def shared_cache_dropped(self, count: int) -> None:
        self._shared_cache_dropped.inc(count)

    def rate_limits_failed(self) -> None:
        self._rate_limit_failures.inc()
