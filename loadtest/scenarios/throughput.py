"""The gateway's images/s under load as a share of plain `session.run`, measured in turn within one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from loadtest import raw
from loadtest.client import Timing, closed_loop
from loadtest.scenarios.bench import Bench, Run, under_load, warm
from loadtest.tally import spread

BATCHES = (1, 4, 8)
AIM_SHARE = 0.85
AIM_FROM_BYTES = 50_000_000
"""The aim is for a tower of ViT-B-32's size (88 MB in int8); an image's decode costs more than running a small one."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """`probe_s` seconds per layout to find the fastest; then `pairs` times raw and gateway in turn."""

    concurrencies: Sequence[int]
    pairs: int
    probe_s: float
    timing: Timing


def throughput(bench: Bench, backbone: str, pairing: Pairing, cores: int) -> Iterator[Run]:
    """Per concurrency the ratio gateway / raw, pair by pair.

    Raw is whatever was fastest here among one session over all cores and one caller per core, at every batch size, fed
    with tensors that are ready in memory: the hardest baseline that this machine offers.
    """
    layouts = _layouts(cores)
    towers = {threads: raw.RawTower(bench.repository, backbone, threads) for threads in {1, cores}}
    images = raw.tensors(bench.jpegs, towers[1].image_size)
    probed = {each: raw.throughput(towers[each.threads], images, each, pairing.probe_s) for each in layouts}
    best = max(probed, key=lambda each: probed[each])
    baseline = _Baseline(towers[best.threads], images, best)
    large = raw.model_path(bench.repository, backbone).stat().st_size >= AIM_FROM_BYTES
    about = {
        "backbone": backbone,
        "baseline": str(best),
        "probed_images_per_s": {str(each): round(rate, 2) for each, rate in probed.items()},
    }
    for clients in pairing.concurrencies:
        run = _pairs(bench, backbone, clients, pairing, baseline)
        met = run["share_of_raw"]["median"] >= AIM_SHARE
        yield about | run | {"aim_share": AIM_SHARE if large else None, "aim_met": met if large else None}


@dataclass(frozen=True, slots=True)
class _Baseline:
    tower: raw.RawTower
    images: raw.Pixels
    layout: raw.Layout

    def images_per_s(self, duration_s: float) -> float:
        return raw.throughput(self.tower, self.images, self.layout, duration_s)


def _layouts(cores: int) -> list[raw.Layout]:
    splits = {(cores, 1), (1, cores)}
    return [raw.Layout(threads, workers, batch) for threads, workers in sorted(splits) for batch in BATCHES]


def _pairs(bench: Bench, backbone: str, clients: int, pairing: Pairing, baseline: _Baseline) -> Run:
    plain, served, runs = [], [], []
    with bench.gateway() as gateway:
        requests = bench.requests(gateway, bench.single(backbone))
        warm(gateway, requests)
        load = partial(closed_loop, requests=requests, concurrency=clients, timing=pairing.timing)
        for _ in range(pairing.pairs):
            plain.append(baseline.images_per_s(pairing.timing.duration_s))
            tally, cost = under_load(gateway, load)
            served.append(tally.images_per_s)
            runs.append(tally.summary() | cost)
    shares = np.asarray(served) / np.asarray(plain)
    return {
        "concurrency": clients,
        "share_of_raw": spread(shares),
        "raw_images_per_s": [round(rate, 2) for rate in plain],
        "gateway_images_per_s": [round(rate, 2) for rate in served],
        "gateway_runs": runs,
    }
