"""Computing the study, unit by unit: what is on disk is not computed again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.evaluate.crew import Job, Opening, Team, run_job, workers_on
from training.evaluate.experts.bench import open_bench
from training.evaluate.experts.grid import CLIP, CLIPTEX, FT, SIDE, Grid
from training.evaluate.experts.units import Record, Result, Unit
from training.experts.packs.pack import ExpertPack, digest_of, load_expert_pack

DRAWN: Final = (CLIP, FT.label, CLIPTEX.label)
"""Whose features of seed 0 are kept, for the picture of features."""


@dataclass(frozen=True)
class RunOptions:
    """`pack`: the file; `out`: the folder of `units.jsonl` and `states.safetensors`; `device`: `auto`, `cpu`, `cuda`;
    `workers`: 0 chooses; `minutes`: when no further unit is begun, 0 for never; `labels`, `towers`: only these, all for
    none; `progress` hears what is at work."""

    pack: Path
    out: Path
    device: str
    workers: int
    minutes: float
    progress: Callable[[str], None]
    labels: tuple[str, ...] = ()
    towers: tuple[str, ...] = ()

    def wants(self, unit: Unit) -> bool:
        """Whether a unit is among those that were asked for."""
        return (not self.labels or unit.label in self.labels) and (not self.towers or unit.tower in self.towers)


def grid_of(pack: ExpertPack) -> Grid:
    """The grid of a pack: the classes that its experts know, the towers that it has."""
    return Grid(len(pack.chosen("photographs").maps["pseudo-classes"].classes), tuple(pack.towers))


def run_study(grid: Grid, parts: Sequence[str], options: RunOptions) -> Record:
    """The units of `parts` that `options.out` does not hold yet, part by part. Raises `DataError` without a pack."""
    deadline = time.time() + 60 * options.minutes if options.minutes else float("inf")
    digest, record = digest_of(options.pack), Record.read(options.out)
    workers = workers_on(options.device, options.workers)
    team: Team[Unit, Result] = Team(workers, deadline)
    with team.at_work(Opening(open_bench, (options.pack, options.device))):
        options.progress(f"{workers} processes; {len(record.results)} units are there")
        for part in parts:
            units = [unit for unit in grid.units(part) if options.wants(unit)]
            run_job(Job(part, digest, _kept, _said, options.progress, every=1), units, team, record)
    return record


def grid_at(path: Path) -> Grid:
    """`grid_of` the pack at `path`. Raises `DataError` where there is none."""
    return grid_of(load_expert_pack(path))


def state_name(tower: str, label: str) -> str:
    """Under which the features of a tower are kept."""
    return f"{tower} {label}"


def _kept(result: Result) -> str | None:
    drawn = result.seed == 0 and result.label in DRAWN and result.side == SIDE and not result.lost
    return state_name(result.tower, result.label) if drawn else None


def _said(result: Result) -> str:
    took = f"{result.fit_seconds:.0f} s of fitting, {result.probe_seconds:.0f} s of probes"
    return f"{result.label} of {result.tower}, seed {result.seed}: {took}"
