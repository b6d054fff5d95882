"""How much each scenario measures: the full set for results, the quick one to see that everything runs."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.client import Timing
from loadtest.scenarios.cluster import ClusterPlan
from loadtest.scenarios.faults import FaultsPlan
from loadtest.scenarios.gallery import GalleryPlan
from loadtest.scenarios.gallery_ingest import IngestPlan
from loadtest.scenarios.gallery_search import SearchPlan
from loadtest.scenarios.throughput import Pairing


@dataclass(frozen=True, slots=True)
class Plan:
    """`loads` are shares of the measured capacity; `images` is how many different JPEGs go round."""

    timing: Timing
    concurrencies: tuple[int, ...]
    loads: tuple[float, ...]
    overhead_pairs: int
    pairing: Pairing
    starts: int
    images: int
    gallery: GalleryPlan
    cluster: ClusterPlan
    faults: FaultsPlan


FULL = Plan(
    timing=Timing(warmup_s=2.0, duration_s=8.0),
    concurrencies=(1, 4, 16, 64),
    loads=(0.5, 0.8, 1.2),
    overhead_pairs=200,
    pairing=Pairing(concurrencies=(16, 32), pairs=4, probe_s=3.0, timing=Timing(warmup_s=2.0, duration_s=6.0)),
    starts=5,
    images=128,
    gallery=GalleryPlan(
        items=100_000,
        queries=256,
        batch=1_000,
        in_flight=2,
        settle_s=5.0,
        restarts=3,
        search=SearchPlan((1, 64), (1, 4), Timing(warmup_s=0.5, duration_s=3.0), plain_s=1.0),
        ingest=IngestPlan(32, 2, pairs=4, probe_s=0.5, timing=Timing(warmup_s=1.0, duration_s=6.0)),
    ),
    cluster=ClusterPlan(rounds=200, concurrencies=(1, 4, 16, 64), timing=Timing(warmup_s=2.0, duration_s=6.0)),
    faults=FaultsPlan(calm_s=2.0, trouble_s=10.0),
)
QUICK = Plan(
    timing=Timing(warmup_s=0.5, duration_s=1.5),
    concurrencies=(1, 4, 16, 64),
    loads=(0.5, 1.2),
    overhead_pairs=20,
    pairing=Pairing(concurrencies=(16,), pairs=2, probe_s=0.5, timing=Timing(warmup_s=0.5, duration_s=1.5)),
    starts=2,
    images=16,
    gallery=GalleryPlan(
        items=5_000,
        queries=64,
        batch=1_000,
        in_flight=2,
        settle_s=2.0,
        restarts=1,
        search=SearchPlan((1, 64), (1, 4), Timing(warmup_s=0.2, duration_s=0.5), plain_s=0.2),
        ingest=IngestPlan(32, 2, pairs=2, probe_s=0.1, timing=Timing(warmup_s=0.5, duration_s=1.5)),
    ),
    cluster=ClusterPlan(rounds=20, concurrencies=(1, 16), timing=Timing(warmup_s=0.5, duration_s=1.5)),
    faults=FaultsPlan(calm_s=0.5, trouble_s=6.0),
)
