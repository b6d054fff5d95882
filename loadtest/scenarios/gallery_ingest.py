"""Pictures a second into a gallery, beside the same towers by `session.run` and by `POST /v1/embeddings`, in turn."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from loadtest import raw
from loadtest.client import Timing
from loadtest.connection import Response
from loadtest.gateway import GatewayError
from loadtest.scenarios.bench import Bench, Run, under_load
from loadtest.scenarios.gallery_calls import create
from loadtest.scenarios.gallery_payload import Pictures
from loadtest.scenarios.gallery_search import load_of, probe_s
from loadtest.tally import Tally, milliseconds, server_timing_ms, spread

GALLERY = "pictures"
BATCHES = (1, 8, 32)
AIM_SHARE = 0.85
DECODED = 32
"""Pictures whose plain decode is timed."""


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """`pairs` times raw, gallery and embeddings in turn; `probe_s` seconds per tower and batch size before that."""

    batch: int
    in_flight: int
    pairs: int
    probe_s: float
    timing: Timing


class RawCommittee:
    """All image towers of a repository, each at the batch size that is fastest for it, one tower after the other."""

    def __init__(self, bench: Bench, threads: int, cores: int, probe_s: float) -> None:
        self._towers = {name: raw.RawTower(bench.repository, name, threads) for name in raw.backbones(bench.repository)}
        sizes = {tower.image_size for tower in self._towers.values()}
        self._images = {size: raw.tensors(bench.jpegs, size) for size in sizes}
        workers = max(1, cores // threads)
        layouts = [raw.Layout(threads, workers, batch) for batch in BATCHES if batch <= len(bench.jpegs)]
        self.layouts = {name: max(layouts, key=partial(self._tower_per_s, name, probe_s)) for name in self._towers}

    def per_s(self, duration_s: float) -> float:
        """Pictures a second that all towers embed, in `duration_s` seconds together."""
        each_s = duration_s / len(self._towers)
        return together([self._tower_per_s(name, each_s, layout) for name, layout in self.layouts.items()])

    def _tower_per_s(self, name: str, duration_s: float, layout: raw.Layout) -> float:
        tower = self._towers[name]
        return raw.throughput(tower, self._images[tower.image_size], layout, duration_s)


def together(rates: Sequence[float]) -> float:
    """What goes through all of them a second when each has the machine in turn."""
    return 1.0 / sum(1.0 / rate for rate in rates)


def ingest(bench: Bench, plan: IngestPlan, threads: int, cores: int) -> Iterator[Run]:
    """One run: the gallery's share of plain embedding, pair by pair. The gallery is new and holds pictures alone."""
    baseline = RawCommittee(bench, threads, cores, plan.probe_s)
    with bench.gateway() as gateway:
        create(gateway, GALLERY, {})
        pictures = Pictures(bench.jpegs, gateway.address, plan.batch)
        adding, embedding = pictures.for_gallery(GALLERY), pictures.for_embeddings()
        call_s = max(probe_s(gateway, each) for each in (adding, embedding))
        rates: dict[str, list[float]] = {"raw": [], "gallery": [], "embeddings": []}
        runs = []
        for _ in range(plan.pairs):
            rates["raw"].append(baseline.per_s(plan.timing.duration_s))
            for name, requests in (("gallery", adding), ("embeddings", embedding)):
                tally, cost = under_load(gateway, load_of(requests, plan.in_flight, plan.timing, call_s))
                rates[name].append(tally.images_per_s * plan.batch)
                runs.append({"to": name} | _summary(tally) | cost)
    about = {"batch": plan.batch, "in_flight": plan.in_flight}
    layouts = {name: str(layout) for name, layout in baseline.layouts.items()}
    yield {"part": "ingest"} | about | shares(rates) | {"raw_layouts": layouts} | _decode(bench) | {"runs": runs}


def shares(rates: dict[str, list[float]]) -> Run:
    """Ratios within each round, since rounds differ more than what they compare; and the aim."""
    plain, added, embedded = (np.asarray(rates[name]) for name in ("raw", "gallery", "embeddings"))
    share = spread(added / plain)
    return {
        "gallery_images_per_s": spread(added),
        "raw_images_per_s": spread(plain),
        "embeddings_images_per_s": spread(embedded),
        "share_of_raw": share,
        "share_of_embeddings": spread(added / embedded),
        "embeddings_share_of_raw": spread(embedded / plain),
        "aim_share": AIM_SHARE,
        "aim_met": share["median"] >= AIM_SHARE,
    }


def describe_changes(answers: Sequence[Response]) -> dict[str, int]:
    """How many items the kept answers call created, updated, unchanged or failed; none for other calls' answers."""
    changes: Counter[str] = Counter()
    for answer in answers:
        for result in json.loads(answer.body).get("results", ()):
            changes[result.get("status", "failed")] += 1
    return dict(changes)


def _summary(tally: Tally) -> Run:
    """Raises `GatewayError` when a picture was not added: a rate of such calls would mean nothing."""
    changes = describe_changes(tally.answers)
    if not tally.latencies_s or changes.keys() - {"created"}:
        raise GatewayError(f"Pictures were not added as they should be: {changes or dict(tally.errors)}.")
    return {
        "answered": len(tally.latencies_s),
        "refused_429": len(tally.refused_after_s),
        "errors": dict(tally.errors),
        "latency_ms": milliseconds(tally.latencies_s),
        "server_timing_ms": server_timing_ms(tally.answers),
        "changes": changes,
    }


def _decode(bench: Bench) -> Run:
    """Milliseconds of a plain decode and resize in this process: the raw baseline is spared it."""
    size = raw.RawTower(bench.repository, raw.backbones(bench.repository)[0], 1).image_size
    times_s = []
    for jpeg in bench.jpegs[:DECODED]:
        started_s = time.perf_counter()
        raw.tensor(jpeg, size)
        times_s.append(time.perf_counter() - started_s)
    return {"decode_and_resize_here_ms": milliseconds(times_s)}
