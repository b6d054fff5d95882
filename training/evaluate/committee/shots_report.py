"""What the `shots` section reports: every method's accuracy by task, and means over tasks beside the comparators.

Comparators: the best *fixed* backbone, of highest mean test accuracy over the tasks of a mean, which flatters it; the
best backbone of each task by the same labelled pictures (`best_by_labels`); the best of each task in hindsight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.evaluate.committee.estimates import Estimate, estimate, image_weights, mean_of
from training.evaluate.committee.pools import TaskPools
from training.evaluate.committee.shots import ALONE, Outcome, TaskOutcomes

BEST_FIXED, BEST_CHOSEN, HINDSIGHT = "best_fixed", "best_by_labels", "best_in_hindsight"
ALL, SEEN, UNSEEN = "all tasks", "seen", "unseen"
SEEN_NOVELTIES = ("seen classes", "unseen concepts")

Outcomes = Mapping[str, Outcome]


@dataclass(frozen=True)
class Scored:
    """One method on one task. `shares`: by backbone the mean share of the weights; `notes`: what it decided in how many
    of the seeds. Both null where there is nothing to say."""

    accuracy: Estimate
    shares: dict[str, float] | None = None
    notes: dict[str, int] | None = None


@dataclass(frozen=True)
class LearntScores:
    """Methods with one number of shots. `per_class`: labelled pictures there were, per class; `without`: classes of
    which there was none."""

    per_class: float
    without: int
    methods: dict[str, Scored]


@dataclass(frozen=True)
class TaskShots:
    """One task. `pictures` of its `test_pictures` were asked; `fit_pictures` were there to draw shots from;
    `disputed` and `repeated` rows were dropped."""

    source: str
    picture: str
    novelty: str
    trained_on: dict[str, bool | None]
    balanced: bool
    classes: int
    test_pictures: int
    pictures: int
    fit_pictures: int
    disputed: int
    repeated: int
    zero_shot: dict[str, Scored]
    learnt: dict[int, LearntScores]


@dataclass(frozen=True)
class MeanScore:
    """`gflops`: mean per picture; `over_fixed`, `over_chosen`: accuracy less that of the best fixed backbone and, where
    there are labels, of `best_by_labels`."""

    accuracy: Estimate
    gflops: float
    over_fixed: Estimate
    over_chosen: Estimate | None


@dataclass(frozen=True)
class MeanRow:
    """Means over the tasks of `group` that have these `shots`, 0 for none at all: every task counts the same."""

    group: str
    shots: int
    tasks: tuple[str, ...]
    best_fixed: str
    methods: dict[str, MeanScore]


@dataclass(frozen=True)
class Margin:
    """How far a method lies below the best of `best_by_labels` and the means on the task where it is farthest."""

    method: str
    source: str
    shots: int
    rival: str
    difference: Estimate


@dataclass(frozen=True)
class ShotsReport:
    """The whole section. `backbones` in the order of their names, with `gflops`."""

    backbones: tuple[str, ...]
    gflops: tuple[float, ...]
    seeds: int
    tasks: tuple[TaskShots, ...]
    means: tuple[MeanRow, ...]
    margins: tuple[Margin, ...]

    @property
    def shots(self) -> tuple[int, ...]:
        """Numbers of shots that any task has."""
        return tuple(sorted({row.shots for row in self.means} - {0}))

    def mean(self, shots: int, group: str = ALL) -> MeanRow | None:
        return next((row for row in self.means if (row.group, row.shots) == (group, shots)), None)


def shots_report(outcomes: Sequence[TaskOutcomes], seeds: int) -> ShotsReport:
    """From everybody's answers. Raises `ValueError` without tasks."""
    if not outcomes:
        raise ValueError("there is no labelled task")
    first = outcomes[0].task
    order = sorted(range(len(first.backbones)), key=lambda place: first.backbones[place])
    counts = sorted({shots for each in outcomes for shots in each.learnt})
    groups = {
        ALL: list(outcomes),
        SEEN: [each for each in outcomes if each.task.novelty in SEEN_NOVELTIES],
        UNSEEN: [each for each in outcomes if each.task.novelty not in SEEN_NOVELTIES],
    }
    rows = [_mean_row(group, shots, tasks) for group, tasks in groups.items() for shots in (0, *counts)]
    return ShotsReport(
        backbones=tuple(first.backbones[place] for place in order),
        gflops=tuple(first.gflops[place] for place in order),
        seeds=seeds,
        tasks=tuple(_task_shots(each) for each in outcomes),
        means=tuple(row for row in rows if row is not None),
        margins=tuple(margin for method in ("ladder", "nlc") for margin in _margins(method, outcomes)),
    )


def outcomes_at(each: TaskOutcomes, shots: int) -> dict[str, Outcome]:
    """Everybody on one task, those without labels included, and the best backbone in hindsight."""
    found = dict(each.zero_shot)
    if shots:
        found |= each.learnt[shots].outcomes
    weights = image_weights(each.task)
    singles = [name for name in each.zero_shot if name.startswith(ALONE)]
    best = max(singles, key=lambda name: float(weights @ found[name].right.mean(axis=0)))
    return found | {HINDSIGHT: replace(found[best], notes={best.removeprefix(ALONE): 1})}


def _mean_row(group: str, shots: int, outcomes: Sequence[TaskOutcomes]) -> MeanRow | None:
    there = [each for each in outcomes if not shots or shots in each.learnt]
    if not there:
        return None
    values = [outcomes_at(each, shots) for each in there]
    tasks = [each.task for each in there]
    singles = sorted(name for name in values[0] if name.startswith(ALONE))
    fixed = max(singles, key=lambda name: _mean(tasks, values, name).value)
    # A generic controller is there where two other tasks are; a method that some tasks lack has no mean.
    names = [name for name in values[0] if all(name in each for each in values)]
    values = [each | {BEST_FIXED: each[fixed]} for each in values]
    methods = {
        name: MeanScore(
            accuracy=_mean(tasks, values, name),
            gflops=float(np.mean([each[name].gflops for each in values])),
            over_fixed=_mean(tasks, values, name, BEST_FIXED),
            over_chosen=_mean(tasks, values, name, BEST_CHOSEN) if shots else None,
        )
        for name in (BEST_FIXED, *names)
    }
    return MeanRow(group, shots, tuple(task.source for task in tasks), fixed.removeprefix(ALONE), methods)


def _mean(tasks: Sequence[TaskPools], values: Sequence[Outcomes], name: str, less: str | None = None) -> Estimate:
    """Of a method, or of what it has over another on the same pictures and, where both have them, seeds."""
    return mean_of([_estimate(task, each[name], less and each[less]) for task, each in zip(tasks, values, strict=True)])


def _estimate(task: TaskPools, outcome: Outcome, other: Outcome | str | None = None) -> Estimate:
    right = outcome.right.astype(np.float64)
    if isinstance(other, Outcome):
        right = right - other.right
    return estimate(right, image_weights(task))


def _task_shots(each: TaskOutcomes) -> TaskShots:
    task = each.task
    names = sorted(task.backbones)
    return TaskShots(
        source=task.source,
        picture=task.picture,
        novelty=task.novelty,
        trained_on=task.trained_on,
        balanced=task.balanced,
        classes=len(task.classes),
        test_pictures=task.test_pictures,
        pictures=len(task.test),
        fit_pictures=len(task.fit),
        disputed=task.dropped.disputed,
        repeated=task.dropped.repeated,
        zero_shot=_scored(task, names, outcomes_at(each, 0)),
        learnt={
            shots: LearntScores(found.per_class, found.without, _scored(task, names, found.outcomes))
            for shots, found in each.learnt.items()
        },
    )


def _scored(task: TaskPools, names: Sequence[str], outcomes: Outcomes) -> dict[str, Scored]:
    return {
        name: Scored(
            accuracy=_estimate(task, outcome),
            shares=None if outcome.shares is None else dict(zip(names, outcome.shares, strict=True)),
            notes=outcome.notes or None,
        )
        for name, outcome in outcomes.items()
    }


def _margins(method: str, outcomes: Sequence[TaskOutcomes]) -> list[Margin]:
    """By number of shots the task on which `method` falls farthest behind the best of its rivals."""
    worst: dict[int, Margin] = {}
    for each in outcomes:
        for shots in each.learnt:
            found = outcomes_at(each, shots)
            rivals = [name for name in (BEST_CHOSEN, "mean", "mean_logit") if name in found]
            rival = max(rivals, key=lambda name: _estimate(each.task, found[name]).value)
            margin = Margin(method, each.task.source, shots, rival, _estimate(each.task, found[method], found[rival]))
            if shots not in worst or margin.difference.value < worst[shots].difference.value:
                worst[shots] = margin
    return [worst[shots] for shots in sorted(worst)]
