"""One repository's scenarios: run, described and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from loadtest import raw, results
from loadtest.client import Arrivals
from loadtest.external import smallest_backbone
from loadtest.payload import LABELS, Question
from loadtest.plan import Plan
from loadtest.scenarios import cluster_tables, gallery_tables
from loadtest.scenarios.bench import Bench, Run, gateway_info
from loadtest.scenarios.cluster import cluster
from loadtest.scenarios.faults import faults
from loadtest.scenarios.gallery import THREADS_SETTING, gallery
from loadtest.scenarios.load import Case, closed, open_
from loadtest.scenarios.overhead import overhead
from loadtest.scenarios.startup import startup
from loadtest.scenarios.throughput import throughput

MIN_CONFIDENCE = 0.5
"""Lets a cascade leave early without a calibration (and without its promise)."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Suite:
    """`threads` per session, told to the gateway and used by the raw baseline; `report` takes a line per run."""

    bench: Bench
    plan: Plan
    threads: int
    cores: int
    out: Path
    command: str
    report: Report

    def closed(self, policies: Sequence[str]) -> Path:
        runs = closed(self.bench, self._cases(policies), self.plan.concurrencies, self.plan.timing)
        return self._record("closed", runs, {"timing": asdict(self.plan.timing)})

    def open_(self, policies: Sequence[str], arrivals: Arrivals, seed: int, loads: Sequence[float] = ()) -> Path:
        """`loads` in place of the plan's."""
        shares = loads or self.plan.loads
        runs = open_(self.bench, self._cases(policies), shares, self.plan.timing, arrivals, seed)
        return self._record("open", runs, {"timing": asdict(self.plan.timing), "arrivals": arrivals, "seed": seed})

    def overhead(self) -> Path:
        runs = overhead(self.bench, raw.backbones(self.bench.repository), self.plan.overhead_pairs, self.threads)
        return self._record("overhead", runs, {})

    def throughput(self) -> Path:
        """Of the largest backbone: the smaller the tower, the less its figure says about anything but HTTP."""
        largest = raw.by_size(self.bench.repository)[-1]
        runs = throughput(self.bench, largest, self.plan.pairing, self.cores)
        return self._record("throughput", runs, asdict(self.plan.pairing))

    def startup(self) -> Path:
        return self._record("startup", startup(self.bench, self.plan.starts), {})

    def gallery(self, items: int | None = None) -> Path:
        """`items` in place of the plan's. The smallest backbone is the one that is asked alone."""
        plan = replace(self.plan.gallery, items=items or self.plan.gallery.items)
        runs = gallery(self.bench, plan, raw.by_size(self.bench.repository)[0], self.threads, self.cores)
        return self._record("gallery", runs, asdict(plan) | {"gateway_environment": {THREADS_SETTING: self.threads}})

    def cluster(self) -> Path:
        return self._record("cluster", cluster(self.bench, self.plan.cluster), asdict(self.plan.cluster))

    def faults(self) -> Path:
        return self._record("faults", faults(self.bench, self.plan.faults), asdict(self.plan.faults))

    def _cases(self, policies: Sequence[str]) -> list[Case]:
        return [self._case(policy) for policy in policies]

    def _case(self, name: str) -> Case:
        """A policy's name, perhaps with `-cached` at its end; `single` asks the smallest backbone."""
        policy = name.removesuffix("-cached")
        question = Question(policy=policy)
        if policy == "single":
            question = replace(question, backbones=(self._smallest(),))
        elif policy == "cascade":
            question = replace(question, min_confidence=MIN_CONFIDENCE)
        return Case(f"{name} {' '.join(question.backbones)}".strip(), question, repeat=name != policy)

    def _smallest(self) -> str:
        if self.bench.external is not None:
            return smallest_backbone(self.bench.external)
        return raw.by_size(self.bench.repository)[0]

    def _record(self, scenario: str, runs: Iterable[Run], settings: dict[str, Any]) -> Path:
        sizes = [len(jpeg) for jpeg in self.bench.jpegs]
        common: dict[str, Any] = {
            "request": self.bench.shape,
            "labels": len(LABELS),
            "images": {"count": len(sizes), "pixels": "500x375", "bytes_min": min(sizes), "bytes_max": max(sizes)},
        }
        info = gateway_info(self.bench)
        if self.bench.external is None:
            common |= {"gateway_settings": dict(self.bench.settings), "session_threads": self.threads}
            zoo = results.zoo_of(self.bench.repository, info)
        else:
            common |= {"baseline": "none: the gateway is external", "machine_and_versions": "the generator's"}
            zoo = results.zoo_elsewhere(info)
        result = results.describe(scenario, zoo, common | settings, self.command)
        result["runs"] = []
        for run in runs:
            self.report(f"{scenario}: {headline(run)}")
            result["runs"].append(run)
        return results.write(result, self.out)


def headline(run: Run) -> str:
    """One line about one run, for whoever waits for it."""
    if run.get("part") in cluster_tables.PARTS:
        return cluster_tables.headline(run)
    if "fault" in run:
        return f"{run['fault']}: told after {run['told_after_s']} s, well after {run['well_after_s']} s"
    if "part" in run:
        return gallery_tables.headline(run)
    if "overhead_ms" in run:
        return f"{run['backbone']}: {run['overhead_ms']['median']:.2f} ms over session.run"
    if "share_of_raw" in run:
        return f"{run['backbone']} at {run['concurrency']}: {run['share_of_raw']['median']:.1%} of session.run"
    if "ready_s" in run:
        return f"ready after {run['ready_s']['median']:.2f} s"
    where = f"at {run['concurrency']}" if "concurrency" in run else f"offered {run['offered_per_s']:.0f}/s"
    p50 = run["latency_ms"]["p50"] if run["latency_ms"] else float("nan")
    bad = run["refused_429"] + sum(run["errors"].values())
    return f"{run['case']} {where}: {run['images_per_s']:.1f} images/s, p50 {p50:.1f} ms, {bad} refused or failed"
