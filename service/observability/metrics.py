"""Prometheus metrics. Names start with `quorum_`; labels carry routes, towers and stages, never ids or users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest

from service.observability.cascades import CascadeMetrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
JOB_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 150.0, 300.0, 600.0, 1800.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One registry per application, so that several can live in one process (tests do)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "quorum_requests_total", "Answered requests.", ["method", "route", "status"], registry=self.registry
        )
        self._request_seconds = Histogram(
            "quorum_request_seconds", "From first byte to answer.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self._stage_seconds = Histogram(
            "quorum_stage_seconds", "Stages of a request.", ["stage"], buckets=SECONDS, registry=self.registry
        )
        self._errors = Counter("quorum_errors_total", "Errors by their code.", ["code"], registry=self.registry)
        self._inflight = Gauge("quorum_inflight_requests", "Requests holding a permit.", registry=self.registry)
        self._images = Counter(
            "quorum_images_total", "Classified images by how they were left.", ["exit_reason"], registry=self.registry
        )
        self._weights = Summary(
            "quorum_backbone_weight", "Weights of votes in classifications.", ["backbone"], registry=self.registry
        )
        self._embedded = Counter(
            "quorum_embedded_total", "Inputs of embeddings calls that were answered.", ["kind"], registry=self.registry
        )
        self._queries = Counter(
            "quorum_queries_total",
            "Queries of galleries by policy and how they were left.",
            ["policy", "exit_reason"],
            registry=self.registry,
        )
        self._items = Counter(
            "quorum_items_total", "Items sent to galleries by what became of them.", ["change"], registry=self.registry
        )
        self._gflops = Counter("quorum_gflops_total", "Work done for images and queries.", registry=self.registry)
        self._batch_rows = Histogram(
            "quorum_batch_rows", "Rows per executed batch.", ["tower"], buckets=ROWS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "quorum_batch_seconds", "Execution of a batch.", ["tower"], buckets=SECONDS, registry=self.registry
        )
        self._queue_seconds = Histogram(
            "quorum_queue_seconds", "A row's wait for a session.", ["tower"], buckets=SECONDS, registry=self.registry
        )
        self._cache = Counter(
            "quorum_cache_lookups_total", "Embedding cache look-ups.", ["result"], registry=self.registry
        )
        self._cache_tier_hits = Counter(
            "quorum_cache_tier_hits_total", "Embeddings found, by where.", ["tier"], registry=self.registry
        )
        self._shared_cache_failures = Counter(
            "quorum_shared_cache_failures_total", "Failures of the embedding cache in Redis.", registry=self.registry
        )
        self._shared_cache_dropped = Counter(
            "quorum_shared_cache_dropped_total", "Embeddings not written to Redis.", registry=self.registry
        )
        self.cascades = CascadeMetrics(self.registry)

        # Names of keys are few and the operator's own: they come from the keys file.
        self._rate_limited = Counter(
            "quorum_rate_limited_total", "Calls beyond a key's limit.", ["key", "limit"], registry=self.registry
        )
        self._rate_limit_failures = Counter(
            "quorum_rate_limit_failures_total",
            "Failures of the shared rate limits; the process's own judged.",
            registry=self.registry,
        )
        self._keys_current = Gauge(
            "quorum_keys_current",
            "1: the keys in force are those of the keys file. 0: it is broken, and those read before are.",
            registry=self.registry,
        )
        self._keys_current.set(1)

        self._jobs = Counter(
            "quorum_jobs_total", "Jobs by how they ended.", ["kind", "outcome"], registry=self.registry
        )
        self._job_seconds = Histogram(
            "quorum_job_seconds", "Run time of jobs.", ["kind"], buckets=JOB_SECONDS, registry=self.registry
        )
        self._jobs_running = Gauge("quorum_jobs_running", "Jobs at work in this process.", registry=self.registry)
        self._jobs_queued = Gauge("quorum_jobs_queued", "Jobs that wait in this process.", registry=self.registry)
        self._state_up = Gauge(
            "quorum_state_up",
            "1: the state can be used, when it was last tried. 0: it is away, or refuses.",
            registry=self.registry,
        )
        self._state_up.set(1)
        self._triton_servers = Gauge("quorum_triton_servers", "Triton servers by name.", registry=self.registry)
        self._triton_connected = Gauge(
            "quorum_triton_servers_connected", "Of them, those with a checked connection.", registry=self.registry
        )

    def request_done(self, method: str, route: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        for stage, stage_seconds in stages.items():
            self._stage_seconds.labels(stage).observe(stage_seconds)

    def error(self, code: str) -> None:
        self._errors.labels(code).inc()

    def inflight_changed(self, count: int) -> None:
        self._inflight.set(count)

    def image_classified(self, exit_reason: str, gflops: float) -> None:
        self._images.labels(exit_reason).inc()
        self._gflops.inc(gflops)

    def voted(self, backbone: str, weight: float) -> None:
        self._weights.labels(backbone).observe(weight)

    def embedded(self, images: int, texts: int, gflops: float) -> None:
        self._embedded.labels("image").inc(images)
        self._embedded.labels("text").inc(texts)
        self._gflops.inc(gflops)

    def query_answered(self, policy: str, exit_reason: str, gflops: float) -> None:
        self._queries.labels(policy, exit_reason).inc()
        self._gflops.inc(gflops)

    def items_added(self, changes: Iterable[str], gflops: float) -> None:
        for change in changes:
            self._items.labels(change).inc()
        self._gflops.inc(gflops)

    def triton_servers(self, connected: int, known: int) -> None:
        self._triton_servers.set(known)
        self._triton_connected.set(connected)

    def batch_done(self, tower: str, rows: int, seconds: float) -> None:
        self._batch_rows.labels(tower).observe(rows)
        self._batch_seconds.labels(tower).observe(seconds)

    def row_waited(self, tower: str, seconds: float) -> None:
        self._queue_seconds.labels(tower).observe(seconds)

    def cache_looked_up(self, hits: int, misses: int) -> None:
        self._cache.labels("hit").inc(hits)
        self._cache.labels("miss").inc(misses)

    def cache_tier_hit(self, tier: str, count: int) -> None:
        self._cache_tier_hits.labels(tier).inc(count)

    def shared_cache_failed(self) -> None:
        self._shared_cache_failures.inc()

    def shared_cache_dropped(self, count: int) -> None:
        self._shared_cache_dropped.inc(count)

    def rate_limited(self, key: str, limit: str) -> None:
        self._rate_limited.labels(key, limit).inc()

    def rate_limits_failed(self) -> None:
        self._rate_limit_failures.inc()

    def keys_read(self, current: bool) -> None:
        self._keys_current.set(current)

    def job_ended(self, kind: str, outcome: str, run_s: float | None) -> None:
        """`run_s` is None for a job that did not run in this process."""
        self._jobs.labels(kind, outcome).inc()
        if run_s is not None:
            self._job_seconds.labels(kind).observe(run_s)

    def jobs_changed(self, running: int, queued: int) -> None:
        self._jobs_running.set(running)
        self._jobs_queued.set(queued)

    def state_up(self, up: bool) -> None:
        self._state_up.set(up)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
