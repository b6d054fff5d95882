"""Metrics of background jobs."""

from __future__ import annotations

import math
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

JOB_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 150.0, 300.0, 600.0, 1800.0)


class JobMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._jobs = Counter("quorum_jobs_total", "Jobs by how they ended.", ["kind", "outcome"], registry=registry)
        self._seconds = Histogram(
            "quorum_job_seconds", "Run time of jobs.", ["kind"], buckets=JOB_SECONDS, registry=registry
        )
        self._running = Gauge("quorum_jobs_running", "Jobs at work in this process.", registry=registry)
        self._queued = Gauge("quorum_jobs_queued", "Jobs that wait in this process.", registry=registry)
        self._running_seconds = Gauge(
            "quorum_job_running_seconds", "For how long the job at work has run; 0 with none.", registry=registry
        )
        self._limit_seconds = Gauge(
            "quorum_job_limit_seconds", "How long a job may run before it is stopped.", registry=registry
        )
        self._limit_seconds.set(math.inf)

    def job_ended(self, kind: str, outcome: str, run_s: float | None) -> None:
        """`run_s` is None for a job that did not run in this process."""
        self._jobs.labels(kind, outcome).inc()
        if run_s is not None:
            self._seconds.labels(kind).observe(run_s)

    def jobs_changed(self, running: int, queued: int) -> None:
        self._running.set(running)
        self._queued.set(queued)

    def watch(self, running_s: Callable[[], float], limit_s: float) -> None:
        """`running_s` is asked at every scrape."""
        self._running_seconds.set_function(running_s)
        self._limit_seconds.set(limit_s)
