"""Processes that compute units of work: each opens a bench once and uses it for one unit after another."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from training.adapters.adapt import choose_device
from training.evaluate.records import FoundT, Records

MOST_WORKERS: Final = 12
"""On a GPU. A fit of so small a tower waits for its kernels' launches: one process fills a fraction of the device."""


class Work(Protocol):
    """A unit of work."""

    @property
    def title(self) -> str:
        """What it is called where it fails."""

    def key(self, pack: str) -> str:
        """Digest of all that decides its result; `pack` is the digest of what it is computed from."""


WorkT = TypeVar("WorkT", bound=Work)
Kept = dict[str, Tensor]


@dataclass(frozen=True)
class Opening:
    """How a process opens its bench, whose `compute` gives a unit's result and tensors that may be kept.
    `open` must be a function of a module, and the arguments what a process can be sent."""

    open: Callable[..., Any]
    arguments: tuple[Any, ...]


def workers_on(device: str, workers: int) -> int:
    """How many processes compute on the named device; `workers` unless that is 0."""
    if workers:
        return workers
    on_gpu = choose_device(device).type == "cuda"
    return max(1, min(MOST_WORKERS, (os.cpu_count() or 1) - 2)) if on_gpu else 1


@dataclass(eq=False)
class Team(Generic[WorkT, FoundT]):
    """Processes with a bench each; with one worker, this process. `deadline`: on the clock of `time.time`."""

    workers: int
    deadline: float
    _pool: ProcessPoolExecutor | None = None

    @contextmanager
    def at_work(self, opening: Opening) -> Iterator["Team[WorkT, FoundT]"]:
        """Start the processes."""
        if self.workers == 1:
            _start(opening, self.deadline)
            yield self
            return
        # New processes, not forks: a device does not survive a fork.
        context, arguments = get_context("spawn"), (opening, self.deadline)
        with ProcessPoolExecutor(self.workers, context, initializer=_start_one, initargs=arguments) as self._pool:
            try:
                yield self
            finally:
                self._pool.shutdown(wait=True, cancel_futures=True)

    def compute(self, units: Sequence[WorkT]) -> Iterator[tuple[FoundT, Kept] | str | None]:
        """What became of the units, as they are done: result and tensors, why it failed, or null where the time did
        not suffice."""
        if self._pool is None:
            yield from (_compute(unit) for unit in units)
            return
        futures = [self._pool.submit(_compute, unit) for unit in units]
        for future in as_completed(futures):
            yield future.result()


_bench: Any = None
_ends: float = float("inf")


def _start_one(opening: Opening, deadline: float) -> None:
    # Many processes on one device: none of them needs more than one thread beside it.
    torch.set_num_threads(1)
    _start(opening, deadline)


def _start(opening: Opening, deadline: float) -> None:
    global _bench, _ends  # what a process of the pool holds between its units
    _bench, _ends = opening.open(*opening.arguments), deadline


def _compute(unit: Work) -> Any:
    if _bench is None:
        raise RuntimeError("this process has no bench")
    if time.time() > _ends:
        return None
    try:
        return _bench.compute(unit)
    # torch's, out of memory among them, and a probe that lost its loss: one unit must not end the others.
    except (RuntimeError, FloatingPointError) as error:
        return f"{unit.title}: {error}"


@dataclass(frozen=True)
class Job(Generic[FoundT]):
    """One part of a grid: `digest` of the pack; `name`: under which a result's tensors are kept, null for not at all;
    `said`: how a result is called in progress; `every`: so many results go unmentioned."""

    part: str
    digest: str
    name: Callable[[FoundT], str | None]
    said: Callable[[FoundT], str]
    progress: Callable[[str], None]
    every: int = 10


def run_job(job: Job[FoundT], units: Sequence[WorkT], team: Team[WorkT, FoundT], record: Records[FoundT]) -> None:
    """The units that `record` does not hold yet."""
    missing = list(
        {unit.key(job.digest): unit for unit in units if unit.key(job.digest) not in record.results}.values()
    )
    began, done = time.monotonic(), 0
    for answer in team.compute(missing):
        if isinstance(answer, str):
            job.progress(f"failed: {answer}")
        if answer is None or isinstance(answer, str):
            continue
        result, state = answer
        record.add(result)
        done += 1
        name = job.name(result)
        if name is not None:
            record.keep(name, state)
        if done % job.every == 0 or done == len(missing):
            seconds = time.monotonic() - began
            job.progress(f"{job.part}: {done} of {len(missing)} in {seconds:.0f} s; {job.said(result)}")
    job.progress(f"{job.part}: {len(units) - len(missing) + done} of {len(units)} units are there")
