"""What a load run counts: latencies of the good answers, refusals and errors, each apart from the others."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtest.connection import Response

KEPT_ANSWERS = 64
PERCENTILES = (50, 95, 99)


class Tally:
    """Answers of one run of `duration_s` seconds. Keeps 8 bytes per good answer and the first few answers whole."""

    def __init__(self, duration_s: float) -> None:
        self.duration_s = duration_s
        self.latencies_s = array("d")
        self.refused_after_s = array("d")
        self.retry_after_s = array("d")
        self.errors: Counter[str] = Counter()
        self.answers: list[Response] = []

    def add(self, outcome: Response | str, latency_s: float) -> None:
        """Count one answer, or the word that says why there was none."""
        if isinstance(outcome, str):
            self.errors[outcome] += 1
        elif outcome.status == 429:
            self.refused_after_s.append(latency_s)
            if (told_s := retry_after_s(outcome)) is not None:
                self.retry_after_s.append(told_s)
        elif outcome.status != 200:
            self.errors[str(outcome.status)] += 1
        else:
            self.latencies_s.append(latency_s)
            if len(self.answers) < KEPT_ANSWERS:
                self.answers.append(outcome)

    @property
    def images_per_s(self) -> float:
        """Good answers per second; a request here carries one image."""
        return len(self.latencies_s) / self.duration_s

    def summary(self) -> dict[str, Any]:
        """The run in figures: rates in images/s, times in ms, percentiles over good answers only."""
        refused = len(self.refused_after_s)
        return {
            "duration_s": round(self.duration_s, 3),
            "images_per_s": round(self.images_per_s, 2),
            "answered": len(self.latencies_s),
            "refused_429": refused,
            "errors": dict(self.errors),
            "latency_ms": milliseconds(self.latencies_s),
            "refusal_latency_ms": milliseconds(self.refused_after_s) if refused else None,
            "retry_after_s": spread(self.retry_after_s) if self.retry_after_s else None,
            "server_timing_ms": server_timing_ms(self.answers),
            "work": work(self.answers),
        }


def retry_after_s(refusal: Response) -> float | None:
    """What `Retry-After` says in seconds. None without one, and for a date: gateways send seconds, proxies in front of
    them what they like."""
    try:
        told_s = float(refusal.headers.get(b"retry-after", b""))
    except ValueError:
        return None
    return told_s if 0.0 <= told_s < math.inf else None


def milliseconds(values_s: Sequence[float] | NDArray[np.float64]) -> dict[str, float] | None:
    """p50, p95, p99, mean and maximum of seconds, in milliseconds; None where there is nothing to describe."""
    if len(values_s) == 0:
        return None
    values_ms = np.asarray(values_s) * 1000.0
    found = np.percentile(values_ms, PERCENTILES).tolist()
    described = {f"p{q}": value for q, value in zip(PERCENTILES, found, strict=True)}
    described |= {"mean": float(values_ms.mean()), "max": float(values_ms.max())}
    return {name: round(value, 3) for name, value in described.items()}


def spread(values: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """Median, quartiles and range of at least one value, in its own unit."""
    low, lower, median, upper, high = np.percentile(np.asarray(values), (0, 25, 50, 75, 100))
    named = {"median": median, "q1": lower, "q3": upper, "min": low, "max": high}
    return {name: round(float(value), 4) for name, value in named.items()}


def parse_server_timing(header: bytes) -> dict[str, float]:
    """`decode;dur=1.2, total;dur=3` as milliseconds by name; entries without a duration are left out."""
    stages: dict[str, float] = {}
    for entry in header.decode("latin-1").split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            if parameter.startswith("dur="):
                stages[name] = stages.get(name, 0.0) + float(parameter.removeprefix("dur="))
    return stages


def server_timing_ms(answers: Iterable[Response]) -> dict[str, float]:
    """The median of every stage that the server's own `Server-Timing` header names, in milliseconds."""
    stages: dict[str, list[float]] = {}
    for answer in answers:
        for name, duration_ms in parse_server_timing(answer.headers.get(b"server-timing", b"")).items():
            stages.setdefault(name, []).append(duration_ms)
    return {name: round(float(np.median(values)), 3) for name, values in stages.items()}


def work(answers: Sequence[Response]) -> dict[str, float] | None:
    """Mean GFLOPs and backbone calls per image, from the `usage` of the kept answers; None if nothing was kept.

    Cached embeddings are no calls: fewer calls than backbones in a run that means to measure the towers says that the
    cache answered in their place.
    """
    used = [usage for answer in answers if (usage := json.loads(answer.body).get("usage"))]
    images = sum(usage["images"] for usage in used)
    if not images:
        return None
    calls = sum(sum(usage["backbone_calls"].values()) for usage in used)
    return {
        "answers_read": len(used),
        "gflops_per_image": round(sum(usage["gflops"] for usage in used) / images, 4),
        "calls_per_image": round(calls / images, 3),
    }
