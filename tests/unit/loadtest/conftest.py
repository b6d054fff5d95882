"""A suite of scenarios that takes seconds: tiny towers, a stub in the gateway's place, little of everything."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.client import Timing
from loadtest.images import make_jpegs, read_samples
from loadtest.plan import QUICK
from loadtest.scenarios.bench import Bench
from loadtest.scenarios.cluster import ClusterPlan
from loadtest.scenarios.gallery import GalleryPlan
from loadtest.scenarios.gallery_ingest import IngestPlan
from loadtest.scenarios.gallery_search import SearchPlan
from loadtest.scenarios.throughput import Pairing
from loadtest.suite import Suite

STUB = (sys.executable, "-m", "tests.unit.loadtest.stub")
SHORT = Timing(warmup_s=0.1, duration_s=0.2)
PLAN = replace(
    QUICK,
    timing=SHORT,
    concurrencies=(1, 2),
    overhead_pairs=4,
    pairing=Pairing(concurrencies=(2,), pairs=2, probe_s=0.05, timing=SHORT),
    starts=2,
    gallery=GalleryPlan(
        items=300,
        queries=8,
        batch=100,
        in_flight=2,
        settle_s=0.0,
        restarts=1,
        search=SearchPlan((1, 4), (1, 2), Timing(warmup_s=0.0, duration_s=0.05), plain_s=0.01),
        ingest=IngestPlan(4, 2, pairs=2, probe_s=0.01, timing=SHORT),
    ),
    cluster=ClusterPlan(rounds=4, concurrencies=(1, 2), timing=Timing(warmup_s=0.0, duration_s=0.1)),
)


def suite_of(repository: Path, out: Path) -> Suite:
    jpegs = make_jpegs(read_samples(Path("service/playground/samples")), 9)
    bench = Bench(repository, jpegs, {"QUORUM_INTRA_OP_THREADS": "1"}, command=STUB)
    return Suite(bench, PLAN, threads=1, cores=2, out=out, command="python -m loadtest all", report=print)


@pytest.fixture
def suite(fake_repository: Path, tmp_path: Path) -> Suite:
    return suite_of(fake_repository, tmp_path)
