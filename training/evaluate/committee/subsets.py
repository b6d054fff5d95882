"""Accuracy and cost of committees of 2 to B backbones (the paper's figure, with every subset in it)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from service.pipeline.committee import Voice
from service.pipeline.controller.fit import PAPER, fit_paper
from service.pipeline.controller.pulled import Candidate, fit_candidates
from training.evaluate.committee.estimates import (
    Estimate,
    estimate,
    image_weights,
    mean_of,
    shown,
)
from training.evaluate.committee.pools import TaskPools
from training.evaluate.committee.sections import SHOTS, Committee, Run, read_as, shots_of, task_unit, with_fit
from training.evaluate.markdown import markdown_table
from training.evaluate.statistics import Booleans

VERSION = "1"
SEEDS = (0, 1, 2, 3, 4)
PAPER_SEEDS = (0,)
"""The paper's form needs a fit of its own for every committee, so it is fitted for the cheapest 2 to B alone."""
NETWORK = Candidate("nlc", 0.1)
"""The ladder's network, which weighs any subset of the backbones after one fit."""
MOST_WHOLE = 6
"""Backbones up to which all subsets are measured; of more than these, the cheapest so many, pairs and singles."""

Members = tuple[int, ...]


@dataclass(frozen=True)
class TaskSubsets:
    """Accuracy on one task (balanced where it is not), in the order of the report's committees: the probability mean
    and the any-subset controller. `paper`: the paper's form for the cheapest 2 to B."""

    source: str
    mean: tuple[Estimate, ...]
    controller: tuple[Estimate, ...]
    paper: tuple[Estimate, ...]


@dataclass(frozen=True)
class SubsetReport:
    """`committees`: members by position, singles first, by size and cost; `cost`: GFLOPs per image of each; `cheapest`:
    where among them the cheapest 1 to B are."""

    backbones: tuple[str, ...]
    committees: tuple[Members, ...]
    cost: tuple[float, ...]
    cheapest: tuple[int, ...]
    tasks: tuple[TaskSubsets, ...]

    def mean(self, place: int) -> Estimate:
        """Of one committee under the probability mean, over the tasks."""
        return mean_of([task.mean[place] for task in self.tasks])

    def controller(self, place: int) -> Estimate:
        return mean_of([task.controller[place] for task in self.tasks])

    def paper(self, size: int) -> Estimate:
        """Of the cheapest `size` backbones, from 2 on."""
        return mean_of([task.paper[size - 2] for task in self.tasks])

    def name(self, place: int) -> str:
        return " + ".join(self.backbones[member] for member in self.committees[place])


def measure_subsets(pools: Sequence[TaskPools], run: Run) -> SubsetReport:
    """Every committee on every task that has shots."""
    gflops = pools[0].gflops
    committees = committees_of(gflops)
    parameters = (SHOTS, SEEDS, PAPER_SEEDS, NETWORK, PAPER, committees)
    units = [
        task_unit("subsets", VERSION, task, parameters, partial(subsets_of, task, committees))
        for task in with_fit(pools)
    ]
    return SubsetReport(
        backbones=pools[0].backbones,
        committees=committees,
        cost=tuple(sum(gflops[member] for member in members) for members in committees),
        cheapest=tuple(committees.index(tuple(sorted(members))) for members in _cheapest(gflops)),
        tasks=read_as(TaskSubsets, run(units)),
    )


def committees_of(gflops: Sequence[float]) -> tuple[Members, ...]:
    """All subsets of up to `MOST_WHOLE` backbones; of more the singles, the pairs and the cheapest so many."""
    everyone = range(len(gflops))
    sizes = range(1, len(gflops) + 1 if len(gflops) <= MOST_WHOLE else 3)
    found = {members for size in sizes for members in combinations(everyone, size)}
    found |= {tuple(sorted(members)) for members in _cheapest(gflops)}
    return tuple(sorted(found, key=lambda members: (len(members), sum(gflops[member] for member in members), members)))


def _cheapest(gflops: Sequence[float]) -> list[Members]:
    order = sorted(range(len(gflops)), key=lambda member: (gflops[member], member))
    return [tuple(order[:size]) for size in range(1, len(order) + 1)]


def subsets_of(task: TaskPools, committees: Sequence[Members]) -> TaskSubsets:
    """One task; controllers are fitted on up to `SHOTS` images of every class."""
    weights = image_weights(task)
    plain = Committee(task.backbones, "mean", task.test)
    fitted = [_controller(task, seed) for seed in SEEDS]
    paper = [
        estimate(np.stack([_right(task, _paper(task, members, seed), members) for seed in PAPER_SEEDS]), weights)
        for members in _cheapest(task.gflops)[1:]
    ]
    return TaskSubsets(
        source=task.source,
        mean=tuple(estimate(plain.right(members)[None], weights) for members in committees),
        controller=tuple(
            estimate(np.stack([_right(task, voice, members) for voice in fitted]), weights) for members in committees
        ),
        paper=tuple(paper),
    )


def _controller(task: TaskPools, seed: int) -> Voice:
    return fit_candidates(shots_of(task, SHOTS, seed), (NETWORK,), seed)[0]


def _paper(task: TaskPools, members: Members, seed: int) -> Voice:
    return fit_paper(shots_of(task, SHOTS, seed).of([task.backbones[member] for member in members]), seed)


def _right(task: TaskPools, voice: Voice, members: Members) -> Booleans:
    return Committee(task.backbones, voice, task.test).right(members)


def subsets_table(report: SubsetReport) -> str:
    """By size: the cheapest so many, and the committee of that size that does best."""
    note = (
        f"Mean over {len(report.tasks)} tasks of top-1 accuracy (balanced where a task is not); controllers are fitted "
        f"on up to {SHOTS} images per class. One any-subset controller (the ladder's network, {len(SEEDS)} seeds) "
        f"weighs every committee; the paper's form is fitted anew for each of the cheapest 2 to "
        f"{len(report.backbones)} ({len(PAPER_SEEDS)} seed{'s' if len(PAPER_SEEDS) > 1 else ''}). The best committee "
        "of a size is chosen by the scores that are shown."
    )
    header = ["backbones", "the cheapest so many", "GFLOPs", "probability mean", "any-subset controller", "paper's NLC"]
    header += ["best committee of this size", "GFLOPs", "any-subset controller"]
    rows = [_row(report, size) for size in range(1, len(report.backbones) + 1)]
    return f"{note}\n\n{markdown_table(header, rows)}"


def _row(report: SubsetReport, size: int) -> list[str]:
    place = report.cheapest[size - 1]
    same = [each for each, members in enumerate(report.committees) if len(members) == size]
    best = max(same, key=lambda each: report.controller(each).value)
    paper = shown(report.paper(size)) if size > 1 else ""
    row = [str(size), report.name(place), f"{report.cost[place]:.4f}", shown(report.mean(place))]
    row += [shown(report.controller(place)), paper]
    return [*row, report.name(best), f"{report.cost[best]:.4f}", shown(report.controller(best))]
