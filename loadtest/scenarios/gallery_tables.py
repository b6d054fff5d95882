"""A gallery's runs in words and tables; a result holds runs of several parts, each with a table of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = list[str]
Table = tuple[Row, Callable[[dict[str, Any]], Row]]


def headline(run: Mapping[str, Any]) -> str:
    """One line about one run, for whoever waits for it."""
    part = run["part"]
    if part == "fill":
        return f"{run['counted']:,} items at {run['embeddings_per_s']:,.0f}/s"
    if part == "search":
        where = f"{run['queries_per_call']} a call at {run['concurrency']}"
        bad = run["refused_429"] + sum(run["errors"].values()) + run["failed_queries"]
        rate = f"{run['searches_per_s']:.1f} searches/s, {run['ratio_to_plain']:.1%} of numpy"
        return f"{run['case']}, {where}: {rate}, {bad} refused or failed"
    if part == "recall":
        return f"{run['case']}: recall at 10 {run['recall_at_10']:.4f}, at 1 {run['recall_at_1']:.4f}"
    if part == "memory":
        return f"{run['rss_kib_per_item']:.1f} KiB of memory per item, {run['disk_kib_per_item']:.1f} KiB of disk"
    if part == "restart":
        return f"ready after {run['ready_s']['median']:.2f} s, first search {run['first_search_s']['median']:.2f} s"
    return f"{run['gallery_images_per_s']['median']:.1f} pictures/s, {run['share_of_raw']['median']:.1%} of session.run"


def about(runs: Sequence[Mapping[str, Any]]) -> str:
    """What a reader has to know beside the tables: who else was at work."""
    loads = [run["load_average"] for run in runs]
    return f"Load average meanwhile: {min(loads):.1f} to {max(loads):.1f}, gateway and generator included.\n"


def _search(run: dict[str, Any]) -> Row:
    latency = run["latency_ms"]
    percentiles = [f"{latency[name]:.1f}" for name in ("p50", "p95", "p99")] if latency else ["-", "-", "-"]
    where = [run["case"], str(run["queries_per_call"]), str(run["concurrency"])]
    rates = [f"{run['searches_per_s']:.1f}", f"{run['plain_searches_per_s']:.1f}", f"{run['ratio_to_plain']:.2g}"]
    bad = [str(run["refused_429"]), str(sum(run["errors"].values()) + run["failed_queries"])]
    calls = "-" if run["calls_per_query"] is None else f"{run['calls_per_query']:.2f}"
    return [*where, *rates, *percentiles, *bad, str(run["answered"]), calls, f"{run['gateway_busy_cores']:.2f}"]


def _recall(run: dict[str, Any]) -> Row:
    figures = [f"{run['recall_at_10']:.4f}", f"{run['recall_at_1']:.4f}", f"{run['worst_recall_at_10']:.2f}"]
    items = f"{run['matching_items']:,}"
    return [
        run["case"],
        items,
        str(run["queries"]),
        *figures,
        _aim(run, f"{run['aim']:g}"),
        f"{run['score_error_max']:g}",
    ]


def _fill(run: dict[str, Any]) -> Row:
    call, index = run["call_ms"], run["index"]
    times = [f"{run['seconds']:.1f}", f"{run['seconds_to_ready']:.1f}"]
    named = ", ".join([index["type"], *(f"{name} {value}" for name, value in index["params"].items())])
    searched = f"{named} ({'exact' if index['exact'] else 'approximate'})"
    width = sum(run["widths"].values())
    calls = [f"{call['p50']:.0f}", f"{run['details_ms']['p50']:.0f}"]
    return [f"{run['items']:,}", str(width), f"{run['embeddings_per_s']:,.0f}", *times, *calls, searched]


def _ingest(run: dict[str, Any]) -> Row:
    rates = [f"{run[f'{name}_images_per_s']['median']:.1f}" for name in ("gallery", "raw", "embeddings")]
    decode = f"{run['decode_and_resize_here_ms']['p50']:.2f}"
    raw = [_share(run["share_of_raw"]), _aim(run, f"{run['aim_share']:.0%}")]
    others = [_share(run["share_of_embeddings"]), _share(run["embeddings_share_of_raw"])]
    return [f"{run['batch']} x {run['in_flight']}", *rates, *raw, *others, decode]


def _memory(run: dict[str, Any]) -> Row:
    per_item = ("vector", "rss", "rss_after_searches", "disk")
    each = [f"{run[f'{name}_kib_per_item']:.1f}" for name in per_item]
    total = [
        f"{run[name]:.0f}" for name in ("rss_alone_mib", "rss_before_mib", "rss_filled_mib", "peak_rss_mib", "disk_mib")
    ]
    return [f"{run['items']:,}", *each, *total]


def _restart(run: dict[str, Any]) -> Row:
    seconds = [_quartiles(run[name]) for name in ("ready_s", "first_search_s")]
    return [f"{run['items']:,}", str(run["starts"]), *seconds, f"{run['rss_mib']['median']:.0f}"]


def _aim(run: dict[str, Any], aim: str) -> str:
    return f"{'met' if run['aim_met'] else 'missed'} ({aim})"


def _share(values: dict[str, float]) -> str:
    return f"{values['median']:.1%} ({values['min']:.1%} to {values['max']:.1%})"


def _quartiles(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} ({values['q1']:.2f} to {values['q3']:.2f})"


SEARCHED = ["case", "queries a call", "concurrency", "searches/s", "numpy searches/s", "ratio"]
ANSWERED = ["p50", "p95", "p99", "429", "errors", "answers", "tower calls/query", "gateway cores"]
PARTS: dict[str, Table] = {
    "search": ([*SEARCHED, *ANSWERED], _search),
    "recall": (
        ["case", "matching items", "queries", "recall@10", "recall@1", "worst @10", "aim", "score off by at most"],
        _recall,
    ),
    "fill": (
        ["ready embeddings", "width", "embeddings/s", "filled, s", "ready, s", "call p50", "GET p50", "index"],
        _fill,
    ),
    "ingest": (
        [
            "batch x in flight",
            "pictures/s",
            "`session.run` pictures/s",
            "`/v1/embeddings` pictures/s",
            "share of `session.run`: median (range)",
            "aim",
            "share of `/v1/embeddings`",
            "its share of `session.run`",
            "plain decode and resize p50",
        ],
        _ingest,
    ),
    "memory": (
        [
            "items",
            "vectors, KiB/item",
            "memory, KiB/item",
            "after searches, KiB/item",
            "disk, KiB/item",
            "gateway alone",
            "with a store",
            "filled",
            "peak",
            "disk",
        ],
        _memory,
    ),
    "restart": (
        ["items", "starts", "ready, s: median (quartiles)", "first search, s", "memory then"],
        _restart,
    ),
}
