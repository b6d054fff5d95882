"""How many gateways and Triton servers a load takes, reckoned from committed results and the model repository's costs.

What one image costs is taken to be a straight line over its GFLOPs, through the two cases of `cluster` that were
measured (one backbone, all of them): `cores * s = base + slope * GFLOPs`. The base (HTTP, decoding, resizing, deciding)
falls to the gateway, the slope to whatever runs the towers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from loadtest.results import Result, read_all

Engine = Literal["triton", "onnx"]
SIDES: Mapping[Engine, str] = {"triton": "triton", "onnx": "embedded"}
CASES = ("one backbone", "mean of all")
CACHED = "mean, cached"
BUSY_FROM = 4
"""Clients: with fewer the machine idles in between, and an image seems to cost more than it does under load."""
GFLOPS = re.compile(r'key: "quorum\.gflops"\s+value \{\s+string_value: "([0-9.e-]+)"')
WHEN_ASKED = re.compile(r'key: "quorum\.votes"\s+value \{\s+string_value: "when_asked"')
GATEWAY_CORES = 2.0
"""What a gateway beside Triton can use: one process, of which Python keeps about one core busy, and its decoding."""
HEAD = ["what", "images/s", "GFLOPs per image", "core-ms per image", "cores busy", "cores per pod", "pods"]


class SizingError(ValueError):
    """There is nothing to reckon from, or what was asked for makes no sense; in words."""


@dataclass(frozen=True, slots=True)
class Costs:
    """`base_ms` and `cached_ms`: core-milliseconds per image, computed and out of the cache; `per_gflop_ms` beyond."""

    base_ms: float
    per_gflop_ms: float
    cached_ms: float
    source: str
    where: str


@dataclass(frozen=True, slots=True)
class Pool:
    """Triton servers for some backbones; `reach` is the share of images that a cascade sends so far (1: all)."""

    name: str
    backbones: tuple[str, ...]
    reach: float = 1.0


@dataclass(frozen=True, slots=True)
class Demand:
    """`utilisation`: share of its cores that a pod may be busy on average. `spare` pods may be away at any time."""

    images_per_s: float
    cached: float
    utilisation: float
    spare: int
    cores_per_gateway: float
    cores_per_server: float


@dataclass(frozen=True, slots=True)
class Need:
    """One row of the answer."""

    what: str
    images_per_s: float
    gflops: float
    core_ms: float
    cores: float
    cores_per_pod: float
    pods: int


def measured(results: Mapping[str, Result], engine: Engine) -> Costs:
    """From the newest result of `cluster`. Raises `SizingError`."""
    found = {name: result for name, result in results.items() if result["scenario"] == "cluster"}
    if not found:
        raise SizingError("There is no result of `python -m loadtest cluster` to reckon from.")
    name, result = max(found.items(), key=lambda each: str(each[1]["date"]))
    side = SIDES[engine]
    (few, few_ms), (all_, all_ms) = (_cost(result["runs"], case, side) for case in CASES)
    slope = (all_ms - few_ms) / (all_ - few)
    cached = [run["arrangements"]["one"] for run in result["runs"] if run.get("case") == CACHED]
    if not cached or slope <= 0:
        raise SizingError(f"{name} does not hold what sizes are reckoned from; take it anew without other load.")
    machine = result["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {result['date'][:10]}"
    return Costs(few_ms - slope * few, slope, median(map(_core_ms, cached)), name, where)


def costs_of(repository: Path) -> dict[str, float]:
    """GFLOPs per image by backbone, as the repository's own configurations have them."""
    cards = sorted(repository.glob("*_image/config.pbtxt"))
    found = {card.parent.name.removesuffix("_image"): GFLOPS.search(card.read_text("utf-8")) for card in cards}
    return {name: float(match[1]) for name, match in found.items() if match}


def members_of(repository: Path) -> tuple[str, ...]:
    """Those of `costs_of` that are asked without being named: who votes only when asked adds to no pool by itself."""
    configurations = {name: repository / f"{name}_image" / "config.pbtxt" for name in costs_of(repository)}
    return tuple(name for name, path in configurations.items() if not WHEN_ASKED.search(path.read_text("utf-8")))


def read_pool(text: str) -> Pool:
    """`NAME=BACKBONE,BACKBONE` or `NAME=BACKBONE:0.4`. Raises `SizingError`."""
    found = re.fullmatch(r"([a-z0-9-]+)=([\w.,-]+?)(?::([0-9.]+))?", text)
    reach = _number(found[3]) if found and found[3] else 1.0
    if found is None or not 0 < reach <= 1:
        raise SizingError(f"{text!r} is no pool such as rest=vit-s,resnet-l:0.4 (a share above 0 and up to 1).")
    return Pool(found[1], tuple(found[2].split(",")), reach)


def size(
    costs: Costs, gflops: Mapping[str, float], pools: Sequence[Pool], demand: Demand, engine: Engine
) -> list[Need]:
    """With `onnx` the gateways run the towers, and `pools` say no more than how far images go. Raises `SizingError`."""
    for name in (name for pool in pools for name in pool.backbones if name not in gflops):
        raise SizingError(f"There is no backbone {name!r}; the repository has {', '.join(sorted(gflops))}.")
    computed = 1.0 - demand.cached
    base_ms = computed * costs.base_ms + demand.cached * costs.cached_ms
    work = {pool.name: pool.reach * sum(gflops[name] for name in pool.backbones) for pool in pools}
    if engine == "onnx":
        everything = sum(work.values())
        core_ms = base_ms + computed * everything * costs.per_gflop_ms
        return [_need("gateways", demand.images_per_s, everything, core_ms, demand, demand.cores_per_gateway)]
    used = min(demand.cores_per_gateway, GATEWAY_CORES)
    needs = [_need("gateways", demand.images_per_s, 0.0, base_ms, demand, used)]
    for pool in pools:
        rate, each = demand.images_per_s * computed * pool.reach, work[pool.name] / pool.reach
        needs.append(_need(f"pool {pool.name}", rate, each, each * costs.per_gflop_ms, demand, demand.cores_per_server))
    return needs


def report(costs: Costs, needs: Iterable[Need], demand: Demand, results: Mapping[str, Result]) -> str:
    """Markdown: the table, and what it stands on."""
    rows = [HEAD, ["---", *["---:"] * (len(HEAD) - 1)], *map(_row, needs)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    lines = [
        f"Measured in {costs.source} ({costs.where}; JPEGs of 500x375 pixels): {costs.base_ms:.1f} core-ms per image "
        f"and {costs.per_gflop_ms:.1f} per GFLOP, {costs.cached_ms:.1f} for an image out of the cache.",
        f"Pods = cores busy / ({demand.utilisation:.0%} of a pod's cores), rounded up, and {demand.spare} to spare.",
        *_latency(results),
    ]
    return "\n\n".join([table, *lines])


def sizing(folder: Path, repository: Path, pools: Sequence[str], demand: Demand, engine: Engine) -> str:
    """The whole answer; without `pools` one pool serves the committee. Raises `SizingError`."""
    results, gflops = read_all(folder), costs_of(repository)
    if not gflops:
        raise SizingError(f"{repository} holds no image tower with quorum.gflops in its config.pbtxt.")
    chosen = [read_pool(text) for text in pools] or [Pool("all", members_of(repository))]
    costs = measured(results, engine)
    return report(costs, size(costs, gflops, chosen, demand, engine), demand, results)


def _cost(runs: Sequence[dict[str, Any]], case: str, side: str) -> tuple[float, float]:
    """GFLOPs and core-milliseconds per image, the median over concurrencies. Raises `SizingError`."""
    found = [run[side] for run in runs if run.get("case") == case and side in run and run["concurrency"] >= BUSY_FROM]
    if not found:
        raise SizingError(f"The result of `cluster` holds no case {case!r} under load; take it anew.")
    return found[0]["work"]["gflops_per_image"], median(map(_core_ms, found))


def _core_ms(run: Mapping[str, Any]) -> float:
    return float(run["gateway_busy_cores"] / run["images_per_s"] * 1e3)


def _need(what: str, rate: float, gflops: float, core_ms: float, demand: Demand, cores_per_pod: float) -> Need:
    cores = rate * core_ms / 1e3
    pods = math.ceil(round(cores / (cores_per_pod * demand.utilisation), 6)) + demand.spare
    return Need(what, rate, gflops, core_ms, cores, cores_per_pod, max(1, pods))


def _row(need: Need) -> list[str]:
    figures = [f"{need.images_per_s:.0f}", f"{need.gflops:.3f}", f"{need.core_ms:.1f}", f"{need.cores:.2f}"]
    return [need.what, *figures, f"{need.cores_per_pod:g}", str(need.pods)]


def _latency(results: Mapping[str, Result]) -> list[str]:
    """Why pods are not to be busy all the time; nothing where it was not measured."""
    found = [(name, result["runs"]) for name, result in results.items() if result["scenario"] == "open"]
    if not found:
        return []
    name, runs = found[-1]
    told = [f"{run['load']:.0%}: {run['latency_ms']['p95']:.0f} ms" for run in runs if run["latency_ms"]]
    return [f"p95 by load, as a share of the capacity ({name}): {', '.join(told)}."]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
