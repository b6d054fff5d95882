"""The page `results/README.md`, made from the result files and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from loadtest.results import EXTERNAL, Result, read_all
from loadtest.scenarios import cluster_tables, gallery_tables

Row = list[str]
Table = tuple[Row, Callable[[dict[str, Any]], Row]]
PAGE = "README.md"
HEAD = """# Results

Rendered from the JSON files in this folder by `python -m loadtest render`; what each figure means is in
[the load tests' own page](../README.md). Latencies are in milliseconds, memory is in MiB.
"""
TITLES = {
    "startup": "Start to ready",
    "overhead": "What the gateway adds to one image at concurrency 1",
    "throughput": "Throughput as a share of plain `session.run`",
    "closed": "Closed loop: N clients, each waiting for its answer",
    "open": "Open loop: Poisson or constant arrivals, latency from the scheduled arrival",
    "cluster": "Several processes: Triton, Redis, two gateways",
    "faults": "Triton fails under a gateway, seconds",
    "gallery": "A large gallery: searches, recall, filling, memory, restart",
}


def render(results: Mapping[str, Result]) -> str:
    """Markdown with one section per scenario and one table per result file."""
    sections = [HEAD]
    for scenario, title in TITLES.items():
        found = {name: result for name, result in results.items() if result["scenario"] == scenario}
        if found:
            sections.append(f"## {title}\n")
            sections += [_section(name, result) for name, result in found.items()]
    return "\n".join(sections)


def write_page(folder: Path) -> Path:
    path = folder / PAGE
    path.write_text(render(read_all(folder)), encoding="utf-8")
    return path


def _section(name: str, result: Result) -> str:
    machine, versions, zoo = result["machine"], result["versions"], result["zoo"]
    runtime = versions.get("onnxruntime") or versions.get("onnxruntime-gpu")
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['os']}"
    what = f"Python {versions['python']}, ONNX Runtime {runtime}, numpy {versions['numpy']}"
    served = f"`{zoo['repository']}` ({zoo['precision']}: {', '.join(zoo['backbones'])})"
    if zoo["repository"] == EXTERNAL:
        served, what = _elsewhere(zoo["info"])
        where = f"The generator: {where}"
    about = f"[{name}]({name}), {result['date'][:10]}. {served}. {where}. {what}.\n\n`{result['command']}`\n"
    tables = "\n".join(_tables(result))
    return f"{about}\n{tables}\n"


def _elsewhere(info: dict[str, Any]) -> tuple[str, str]:
    """What an external gateway serves, and in which versions, by its own account."""
    engine, names = info["engine"], ", ".join(sorted(info["backbones"]))
    served = f"An external gateway (zoo {info['zoo_digest'][:12]}: {names}; engine {engine}), its machines unknown"
    return served, "The gateway: " + ", ".join(f"{name} {version}" for name, version in info["versions"].items())


def _tables(result: Result) -> list[str]:
    """One table of all runs; where parts were measured, one for each of them."""
    runs = result["runs"]
    if result["scenario"] in TABLES:
        head, row = TABLES[result["scenario"]]
        return [_table(head, map(row, runs))]
    parts = PARTS[result["scenario"]]
    of_part = {part: [run for run in runs if run["part"] == part] for part in parts}
    tables = ((parts[part], found) for part, found in of_part.items() if found)
    return [gallery_tables.about(runs), *(_table(head, map(row, found)) for (head, row), found in tables)]


def _table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _latency(run: dict[str, Any]) -> Row:
    latency = run["latency_ms"]
    return [f"{latency[name]:.1f}" for name in ("p50", "p95", "p99")] if latency else ["-", "-", "-"]


def _failures(run: dict[str, Any]) -> Row:
    return [str(run["refused_429"]), str(sum(run["errors"].values()))]


def _closed(run: dict[str, Any]) -> Row:
    figures = [run["case"], str(run["concurrency"]), f"{run['images_per_s']:.1f}", *_latency(run), *_failures(run)]
    busy = [_seen(run, "gateway_busy_cores", 2), f"{run['generator_busy_cores']:.2f}"]
    return [*figures, *_work(run), *busy, _seen(run, "gateway_peak_rss_mib", 0)]


def _open(run: dict[str, Any]) -> Row:
    retry = f"{run['retry_after_s']['median']:.0f} s" if run["retry_after_s"] else "-"
    rates = [f"{run['load']:.0%}", f"{run['offered_per_s']:.1f}", f"{run['images_per_s']:.1f}"]
    return [run["case"], *rates, *_latency(run), *_failures(run), retry, _seen(run, "gateway_peak_rss_mib", 0)]


def _seen(run: dict[str, Any], name: str, digits: int) -> str:
    """A figure of the gateway's processes; an external one's cannot be seen."""
    return f"{run[name]:.{digits}f}" if name in run else "-"


def _work(run: dict[str, Any]) -> Row:
    work = run["work"]
    return [f"{work['gflops_per_image']:.2f}", f"{work['calls_per_image']:.2f}"] if work else ["-", "-"]


def _quartiles(values: dict[str, float], digits: int) -> str:
    return f"{values['median']:.{digits}f} ({values['q1']:.{digits}f} to {values['q3']:.{digits}f})"


def _overhead(run: dict[str, Any]) -> Row:
    stages = ", ".join(f"{name} {value:.2f}" for name, value in run["server_timing_ms"].items())
    p50 = [run[name]["p50"] for name in ("post_ms", "session_run_ms", "http_floor_ms", "decode_and_resize_here_ms")]
    aim = f"{'met' if run['aim_met'] else 'missed'} ({run['aim_ms']:g})"
    return [run["backbone"], _quartiles(run["overhead_ms"], 2), aim, *[f"{value:.2f}" for value in p50], stages]


def _throughput(run: dict[str, Any]) -> Row:
    aim = f"{'met' if run['aim_met'] else 'missed'} ({run['aim_share']:.0%})" if run["aim_share"] else "-"
    rates = [f"{_median(run[name]):.1f}" for name in ("raw_images_per_s", "gateway_images_per_s")]
    spread = run["share_of_raw"]
    share = f"{spread['median']:.1%} ({spread['min']:.1%} to {spread['max']:.1%})"
    return [run["backbone"], str(run["concurrency"]), share, aim, *rates, run["baseline"]]


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _startup(run: dict[str, Any]) -> Row:
    seconds = [_quartiles(run[name], 2) for name in ("ready_s", "first_answer_s")]
    memory = [f"{run[name]['median']:.0f}" for name in ("rss_when_ready_mib", "peak_rss_mib")]
    return [str(run["starts"]), *seconds, *memory]


def _faults(run: dict[str, Any]) -> Row:
    times = [
        "-" if run[name] is None else f"{run[name]:.2f}" for name in ("told_after_s", "longest_wait_s", "well_after_s")
    ]
    answers = ", ".join(f"{count} x {status if status != '0' else 'none'}" for status, count in run["answers"].items())
    return [run["fault"], *times, answers, str(run["degraded"])]


PERCENTILES = ["p50", "p95", "p99", "429", "errors"]
CORES = ["gateway cores", "generator cores"]
OVERHEAD_PARTS = ["POST p50", "`session.run` p50", "`GET /healthz` p50", "plain decode and resize p50"]
PARTS = {"cluster": cluster_tables.PARTS, "gallery": gallery_tables.PARTS}
TABLES: dict[str, Table] = {
    "faults": (
        [
            "fault",
            "callers told after",
            "longest wait",
            "answered after its end",
            "answers meanwhile",
            "of them degraded",
        ],
        _faults,
    ),
    "closed": (
        ["case", "concurrency", "images/s", *PERCENTILES, "GFLOPs/image", "calls/image", *CORES, "peak memory"],
        _closed,
    ),
    "open": (
        ["case", "load", "offered/s", "answered/s", *PERCENTILES, "Retry-After", "peak memory"],
        _open,
    ),
    "overhead": (
        ["backbone", "overhead: median (quartiles)", "aim", *OVERHEAD_PARTS, "the gateway's own stages"],
        _overhead,
    ),
    "throughput": (
        ["backbone", "concurrency", "share: median (range)", "aim", "raw images/s", "gateway images/s", "raw baseline"],
        _throughput,
    ),
    "startup": (
        ["starts", "ready, s: median (quartiles)", "first answer, s", "memory when ready", "peak memory"],
        _startup,
    ),
}
