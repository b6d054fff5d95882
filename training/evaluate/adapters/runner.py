"""Computing units: several processes share one device, the results of each unit are on disk as soon as it is done."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch
from torch import Tensor

from training.adapters.adapt import choose_device
from training.adapters.pack import load_pack
from training.checkpoint import load_tensors, save_tensors
from training.evaluate.adapters.bench import Bench, open_bench, pack_digest
from training.evaluate.adapters.grid import Grid
from training.evaluate.adapters.units import Result, Unit, append_result, read_results, write_results

UNITS: Final = "units.jsonl"
STATES: Final = "states.safetensors"
KEPT: Final = ("without-msa", "msa", "msa-lo")
"""What is drawn (figure 6)."""
MOST_WORKERS: Final = 12
"""On a GPU. A fit of so small a tower waits for its kernels' launches: one process fills a fraction of the device."""

States = dict[str, dict[str, Tensor]]
Answer = tuple[Result, dict[str, Tensor]] | str | None
"""What became of a unit: its result and adapter, why it failed, or null where the time did not suffice."""


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


def workers_of(options: RunOptions) -> int:
    """How many processes compute."""
    if options.workers:
        return options.workers
    on_gpu = choose_device(options.device).type == "cuda"
    return max(1, min(MOST_WORKERS, (os.cpu_count() or 1) - 2)) if on_gpu else 1


class Crew:
    """Processes with a bench each; with one worker, this process. Use as a context."""

    def __init__(self, options: RunOptions, deadline: float) -> None:
        self._options, self._deadline, self._workers = options, deadline, workers_of(options)
        self._pool: ProcessPoolExecutor | None = None

    @contextmanager
    def at_work(self) -> Iterator["Crew"]:
        """Decode the pictures once, for everybody, and start the processes."""
        options = self._options
        with TemporaryDirectory() as folder:
            pixels = Path(folder) / "pixels.npy"
            np.save(pixels, load_pack(options.pack).decoded())
            arguments = (options.pack, pixels, options.device, self._deadline)
            if self._workers == 1:
                _start(*arguments)
                yield self
                return
            # New processes, not forks: a device does not survive a fork.
            context = get_context("spawn")
            with ProcessPoolExecutor(self._workers, context, initializer=_start_one, initargs=arguments) as self._pool:
                try:
                    yield self
                finally:
                    self._pool.shutdown(wait=True, cancel_futures=True)

    def compute(self, units: Sequence[Unit]) -> Iterator[Answer]:
        """What the units found, as they are done."""
        if self._pool is None:
            yield from (_compute(unit) for unit in units)
            return
        futures = [self._pool.submit(_compute, unit) for unit in units]
        for future in as_completed(futures):
            yield future.result()


_bench: Bench | None = None
_ends: float = float("inf")


def _start_one(pack: Path, pixels: Path, device: str, deadline: float) -> None:
    # Many processes on one device: none of them needs more than one thread beside it.
    torch.set_num_threads(1)
    _start(pack, pixels, device, deadline)


def _start(pack: Path, pixels: Path, device: str, deadline: float) -> None:
    global _bench, _ends  # what a process of the pool holds between its units
    _bench, _ends = open_bench(load_pack(pack), np.load(pixels, mmap_mode="r"), pack_digest(pack), device), deadline


def _compute(unit: Unit) -> Answer:
    if _bench is None:
        raise RuntimeError("this process has no bench")
    if time.time() > _ends:
        return None
    try:
        return _bench.compute(unit)
    except RuntimeError as error:  # torch's, out of memory among them: one unit must not end the others
        return f"{unit.label} on {unit.fitted}, seed {unit.config.seed}: {error}"


@dataclass
class Record:
    """Results and kept adapters in a folder, brought up to date unit by unit."""

    out: Path
    results: dict[str, Result] = field(default_factory=dict)
    states: States = field(default_factory=dict)

    @classmethod
    def read(cls, out: Path) -> "Record":
        """What the folder holds. A line that a kill cut off is removed from the file."""
        record = cls.open(out)
        write_results(out / UNITS, record.results.values())
        return record

    @classmethod
    def open(cls, out: Path) -> "Record":
        """What the folder holds. No file is touched: a run may be at work on them."""
        record = cls(out, read_results(out / UNITS))
        if (out / STATES).is_file():
            for name, value in load_tensors(out / STATES)[0].items():
                label, _, rest = name.partition("/")
                record.states.setdefault(label, {})[rest] = value
        return record

    def add(self, result: Result) -> None:
        """One more result, on disk when this returns."""
        self.results[result.key] = result
        append_result(self.out / UNITS, result)

    def keep(self, name: str, state: dict[str, Tensor]) -> None:
        """An adapter under a name; the file of all of them is written again."""
        self.states[name] = state
        tensors = {f"{name}/{key}": value for name, each in self.states.items() for key, value in each.items()}
        save_tensors(self.out / STATES, tensors, {"labels": list(self.states)})


def run_grid(grid: Grid, parts: Sequence[str], options: RunOptions) -> Record:
    """The units of `parts` that `options.out` does not hold yet, part by part.

    What is there is read first, so a run that was killed goes on where it was.
    """
    deadline = time.time() + 60 * options.minutes if options.minutes else float("inf")
    digest, record = pack_digest(options.pack), Record.read(options.out)
    with Crew(options, deadline).at_work() as crew:
        options.progress(f"{workers_of(options)} processes; {len(record.results)} units are there")
        for part in parts:
            run_part(part, grid.units(part, list(record.results.values())), crew, record, digest, options)
    return record


def run_part(part: str, units: Sequence[Unit], crew: Crew, record: Record, digest: str, options: RunOptions) -> None:
    """One part of the grid."""
    missing = list({unit.key(digest): unit for unit in units if unit.key(digest) not in record.results}.values())
    began, done = time.monotonic(), 0
    for answer in crew.compute(missing):
        if isinstance(answer, str):
            options.progress(f"failed: {answer}")
        if answer is None or isinstance(answer, str):
            continue
        result, state = answer
        record.add(result)
        done += 1
        if result.seed == 0 and result.label in options.kept and result.fitted == "reserved" and result.epochs == 5:
            record.keep(result.label, state)
        if done % 10 == 0 or done == len(missing):
            seconds = time.monotonic() - began
            options.progress(f"{part}: {done} of {len(missing)} in {seconds:.0f} s; {result.label}, {result.fitted}")
    options.progress(f"{part}: {len(units) - len(missing) + done} of {len(units)} units are there")
