"""Computing units: several processes share one device, the results of each unit are on disk as soon as it is done."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from training.adapters.pack import load_pack
from training.evaluate.adapters.bench import Bench, open_bench, pack_digest
from training.evaluate.adapters.grid import Grid
from training.evaluate.adapters.units import Result, Unit, parse_result
from training.evaluate.crew import Job, Opening, Team, run_job, workers_on
from training.evaluate.records import STATES, UNITS, Records

__all__ = ["KEPT", "STATES", "UNITS", "Record", "RunOptions", "run_grid"]

KEPT: Final = ("without-msa", "msa", "msa-lo")
"""What is drawn (figure 6)."""


@dataclass(frozen=True)
class RunOptions:
    """`pack`: the file; `out`: the folder of `units.jsonl` and `states.safetensors`; `device`: `auto`, `cpu`, `cuda`;
    `workers`: 0 chooses; `minutes`: when no further unit is begun, 0 for never; `kept`: labels whose adapters of seed 0
    are kept; `progress` hears what is at work."""

    pack: Path
    out: Path
    device: str
    workers: int
    minutes: float
    progress: Callable[[str], None]
    kept: tuple[str, ...] = KEPT


class Record(Records[Result]):
    """Results and kept adapters in a folder."""

    @staticmethod
    def parse(line: str) -> Result:
        """A line as a result."""
        return parse_result(line)


def open_packed(pack: Path, pixels: Path, device: str) -> Bench:
    """A bench of a process: the pack, its pictures decoded before in a file of their own, and the name of a device."""
    return open_bench(load_pack(pack), np.load(pixels, mmap_mode="r"), pack_digest(pack), device)


@contextmanager
def _at_work(options: RunOptions, workers: int, deadline: float) -> Iterator[Team[Unit, Result]]:
    """Decode the pictures once, for everybody, and start the processes."""
    with TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels.npy"
        np.save(pixels, load_pack(options.pack).decoded())
        team: Team[Unit, Result] = Team(workers, deadline)
        with team.at_work(Opening(open_packed, (options.pack, pixels, options.device))):
            yield team


def run_grid(grid: Grid, parts: Sequence[str], options: RunOptions) -> Record:
    """The units of `parts` that `options.out` does not hold yet, part by part.

    What is there is read first, so a run that was killed goes on where it was.
    """
    deadline = time.time() + 60 * options.minutes if options.minutes else float("inf")
    digest, record = pack_digest(options.pack), Record.read(options.out)
    workers = workers_on(options.device, options.workers)
    with _at_work(options, workers, deadline) as team:
        options.progress(f"{workers} processes; {len(record.results)} units are there")
        for part in parts:
            job = Job(part, digest, lambda found: _kept(found, options), _said, options.progress)
            run_job(job, grid.units(part, list(record.results.values())), team, record)
    return record


def _kept(result: Result, options: RunOptions) -> str | None:
    first = result.seed == 0 and result.fitted == "reserved" and result.epochs == 5
    return result.label if first and result.label in options.kept else None


def _said(result: Result) -> str:
    return f"{result.label}, {result.fitted}"
