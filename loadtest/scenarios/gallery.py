"""A large gallery: filled with ready embeddings, compared with the exact answer, searched, weighed, started again."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.gateway import Gateway
from loadtest.payload import get
from loadtest.scenarios.bench import Bench, Run
from loadtest.scenarios.gallery_calls import ask, create, folder_bytes, send_all, until_answered, wait_until_ready
from loadtest.scenarios.gallery_data import PERCENT, Vectors, make_vectors
from loadtest.scenarios.gallery_ingest import IngestPlan, ingest
from loadtest.scenarios.gallery_payload import embedding_searches, ready_items
from loadtest.scenarios.gallery_recall import recall
from loadtest.scenarios.gallery_search import TOP, SearchPlan, recall_cases, search_cases, searches
from loadtest.tally import milliseconds, spread

GALLERY = "load"
SMALL = "small"
FEW = 100
DETAILS = 5
MEAN = {"policy": "mean", "top_k": TOP}
FOLDER_SETTING = "QUORUM_GALLERIES_URL"
THREADS_SETTING = "OMP_NUM_THREADS"
KIB = 1024
MIB = 1 << 20
FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class GalleryPlan:
    """`items` in calls of `batch`, `in_flight` at once; then `settle_s` seconds for what goes on behind the answers."""

    items: int
    queries: int
    batch: int
    in_flight: int
    settle_s: float
    restarts: int
    search: SearchPlan
    ingest: IngestPlan


def gallery(bench: Bench, plan: GalleryPlan, single: str, threads: int, cores: int) -> Iterator[Run]:
    """Everything about a gallery; `single` is the backbone that is asked alone, `threads` is whatever compares gets.

    Every run says how busy the machine was in the minute before it ended: it takes ten, and neighbours come and go.
    """
    for run in _parts(bench, plan, single, threads, cores):
        yield run | {"load_average": round(os.getloadavg()[0], 2)}


def _parts(bench: Bench, plan: GalleryPlan, single: str, threads: int, cores: int) -> Iterator[Run]:
    bench = replace(bench, settings={THREADS_SETTING: str(threads)} | dict(bench.settings))
    with tempfile.TemporaryDirectory(prefix="quorum-load-") as folder:
        kept = Path(folder) / "galleries.db"
        there = replace(bench, settings=dict(bench.settings) | {FOLDER_SETTING: str(kept)})
        with there.gateway() as gateway:
            vectors, filled = _fill(gateway, plan, kept)
            yield filled
            # One that the prefix holds is looked for in less: both kinds are asked alone.
            singles = list(dict.fromkeys([single, filled["prefix"][0]]))
            yield from recall(gateway, GALLERY, vectors, recall_cases(singles))
            yield from searches(gateway, GALLERY, vectors, search_cases(singles), plan.search, threads)
            yield {"part": "memory"} | _memory(gateway, filled)
        if plan.restarts:
            yield _restarts(there, vectors, plan.restarts)
    yield from ingest(bench, plan.ingest, threads, cores)


def _fill(gateway: Gateway, plan: GalleryPlan, folder: Path) -> tuple[Vectors, Run]:
    """Create and fill the gallery. Memory and disk are looked at before, and after it has come to rest."""
    rss_alone_mib = gateway.usage().rss_mib
    made = create(gateway, GALLERY, {"fields": {PERCENT: "integer"}})
    widths = {member["name"]: int(member["width"]) for member in made["backbones"]}
    vectors = make_vectors(widths, plan.items, plan.queries)
    _use_once(gateway, vectors)
    calls = ready_items(vectors, GALLERY, gateway.address, plan.batch)
    rss_before_mib, disk_before, started_s = gateway.usage().rss_mib, folder_bytes(folder), time.perf_counter()
    answers = send_all(gateway, calls, plan.in_flight)
    took_s = time.perf_counter() - started_s
    found, busy = wait_until_ready(gateway, GALLERY)
    ready_s = time.perf_counter() - started_s
    time.sleep(plan.settle_s)
    after, disk_after = gateway.usage(), folder_bytes(folder)
    created = sum(result.get("status") == "created" for answer, _ in answers for result in answer["results"])
    return vectors, {
        "part": "fill",
        "items": plan.items,
        "created": created,
        "counted": found["items"],
        "batch": plan.batch,
        "in_flight": plan.in_flight,
        "seconds": round(took_s, 3),
        "seconds_to_ready": round(ready_s, 3),
        "busy_until_ready": busy,
        "embeddings_per_s": round(plan.items / took_s, 1),
        "call_ms": milliseconds([call_s for _, call_s in answers]),
        "widths": widths,
        "prefix": found["prefix"],
        "index": found["index"],
        "rss_alone_mib": rss_alone_mib,
        "rss_before_mib": rss_before_mib,
        "rss_filled_mib": after.rss_mib,
        "peak_rss_mib": after.peak_rss_mib,
        "disk_bytes": disk_after - disk_before,
        "details_ms": milliseconds(_details_s(gateway)),
    }


def _details_s(gateway: Gateway) -> list[float]:
    """Seconds of asking what the gallery holds, of which there is a count to be made."""
    asked = itertools.repeat(get(f"/v1/galleries/{GALLERY}", gateway.address), DETAILS)
    return [call_s for _, call_s in send_all(gateway, asked, 1)]


def _use_once(gateway: Gateway, vectors: Vectors) -> None:
    """A small gallery, filled and searched: what the store loads for the first one is not the items' memory."""
    create(gateway, SMALL, {"fields": {PERCENT: "integer"}})
    few = replace(vectors, items=vectors.items[:FEW])
    send_all(gateway, ready_items(few, SMALL, gateway.address, FEW), 1)
    ask(gateway, next(embedding_searches(SMALL, gateway.address, vectors.queries, 1, MEAN)))


def _memory(gateway: Gateway, filled: Run) -> Run:
    """Per item, beside what its vectors alone take: all backbones' once, and those of the prefix a second time."""
    usage = gateway.usage()
    widths: dict[str, int] = filled["widths"]
    floats = sum(widths.values()) + sum(widths[name] for name in filled["prefix"])
    return {
        "items": filled["items"],
        "vector_kib_per_item": round(floats * FLOAT_BYTES / KIB, 3),
        "rss_kib_per_item": per_item_kib(filled["rss_before_mib"], filled["rss_filled_mib"], filled["items"]),
        "rss_after_searches_kib_per_item": per_item_kib(filled["rss_before_mib"], usage.rss_mib, filled["items"]),
        "disk_kib_per_item": round(filled["disk_bytes"] / KIB / filled["items"], 3),
        "rss_alone_mib": filled["rss_alone_mib"],
        "rss_before_mib": filled["rss_before_mib"],
        "rss_filled_mib": filled["rss_filled_mib"],
        "rss_after_searches_mib": usage.rss_mib,
        "peak_rss_mib": usage.peak_rss_mib,
        "disk_mib": round(filled["disk_bytes"] / MIB, 1),
    }


def per_item_kib(before_mib: float, after_mib: float, items: int) -> float:
    return round((after_mib - before_mib) * KIB / items, 3)


def _restarts(bench: Bench, vectors: Vectors, starts: int) -> Run:
    """Start of the process to ready, and to the first answered search; searches are asked from ready on."""
    measured: dict[str, list[float]] = {"ready_s": [], "first_search_s": [], "rss_mib": [], "refused": []}
    for _ in range(starts):
        with bench.gateway() as gateway:
            ready_at_s = time.perf_counter()
            parts = next(embedding_searches(GALLERY, gateway.address, vectors.queries, 1, MEAN))
            refused = until_answered(gateway, parts)
            measured["first_search_s"].append(gateway.ready_s + time.perf_counter() - ready_at_s)
            measured["ready_s"].append(gateway.ready_s)
            measured["rss_mib"].append(gateway.usage().rss_mib)
            measured["refused"].append(refused)
    about = {"part": "restart", "starts": starts, "items": len(vectors.items)}
    return about | {name: spread(values) for name, values in measured.items()}
