"""A cluster's runs in words and tables; a result holds runs of several parts, each with a table of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Row = list[str]
Table = tuple[Row, Callable[[dict[str, Any]], Row]]


def headline(run: Mapping[str, Any]) -> str:
    """One line about one run, for whoever waits for it."""
    part = run["part"]
    if part == "overhead":
        return f"{run['backbone']}: {run['difference_ms']['median']:.2f} ms more through Triton"
    if part == "load":
        return (
            f"{run['case']} at {run['concurrency']}: Triton {run['triton_to_embedded']:.2f} times the embedded engine"
        )
    if part == "cache":
        return f"embeddings from {run['tier']}: {run['post_us']['median']:.0f} us a POST"
    return f"{run['case']} at {run['concurrency']}: two gateways {run['two_to_one']:.2f} times one"


def _overhead(run: dict[str, Any]) -> Row:
    aim = f"{'met' if run['aim_met'] else 'missed'} ({run['aim_ms']:g})"
    posts = [f"{run[name]['p50']:.2f}" for name in ("embedded_ms", "triton_ms")]
    return [run["backbone"], _quartiles(run["difference_ms"], 2), aim, *posts, str(run["rounds"])]


def _load(run: dict[str, Any]) -> Row:
    sides = [run["embedded"], run["triton"]]
    rates = [f"{side['images_per_s']:.1f}" for side in sides]
    p50 = [_p50(side) for side in sides]
    batches = ["-" if side["rows_per_batch"] is None else f"{side['rows_per_batch']:.2f}" for side in sides]
    memory = [f"{side['gateway_peak_rss_mib']:.0f}" for side in sides]
    ratio = f"{run['triton_to_embedded']:.2f}"
    return [run["case"], str(run["concurrency"]), *rates, ratio, *p50, *batches, *memory, _bad(sides)]


def _cache(run: dict[str, Any]) -> Row:
    stages = ", ".join(f"{name} {value:.0f}" for name, value in run["stages_us"].items())
    beyond = "-" if run["tier"] == "memory" else _quartiles(run["beyond_memory_us"], 0)
    return [run["tier"], _quartiles(run["post_us"], 0), beyond, stages, str(run["rounds"])]


def _gateways(run: dict[str, Any]) -> Row:
    sides = list(run["arrangements"].values())
    rates = [f"{side['images_per_s']:.1f}" for side in sides]
    busy = [f"{sides[-1]['gateway_busy_cores']:.2f}", f"{sides[-1]['generator_busy_cores']:.2f}"]
    ratio = f"{run['two_to_one']:.2f}"
    return [run["case"], str(run["concurrency"]), *rates, ratio, *map(_p50, sides), *busy, _bad(sides)]


def _p50(side: Mapping[str, Any]) -> str:
    return f"{side['latency_ms']['p50']:.1f}" if side["latency_ms"] else "-"


def _bad(sides: list[dict[str, Any]]) -> str:
    return str(sum(side["refused_429"] + sum(side["errors"].values()) for side in sides))


def _quartiles(values: Mapping[str, float], digits: int) -> str:
    return f"{values['median']:.{digits}f} ({values['q1']:.{digits}f} to {values['q3']:.{digits}f})"


ENGINES = ("embedded", "Triton")
ARRANGEMENTS = ("one", "one behind HAProxy", "two behind HAProxy")
PARTS: dict[str, Table] = {
    "overhead": (
        ["backbone", "more through Triton, ms: median (quartiles)", "aim", "embedded p50", "Triton p50", "rounds"],
        _overhead,
    ),
    "load": (
        [
            *("case", "concurrency", *(f"{engine}, images/s" for engine in ENGINES), "ratio"),
            *(f"{engine} {what}" for what in ("p50", "rows/batch", "peak memory") for engine in ENGINES),
            "refused or failed",
        ],
        _load,
    ),
    "cache": (
        ["embeddings from", "POST, us: median (quartiles)", "beyond memory, us", "the gateway's own stages", "rounds"],
        _cache,
    ),
    "gateways": (
        [
            *("case", "concurrency", *(f"{name}, images/s" for name in ARRANGEMENTS), "two to one"),
            *(f"{name} p50" for name in ARRANGEMENTS),
            *("cores of two and HAProxy", "generator cores", "refused or failed"),
        ],
        _gateways,
    ),
}
"""By part: the heads, and one run's row."""
