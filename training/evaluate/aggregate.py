"""Several tasks in one number: the best fixed backbone, the best one per task, and how much of the difference is luck.

Axes: t tasks, b backbones. Every task counts the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from training.evaluate.statistics import (
    Floats,
    Integers,
    Resamples,
    Score,
    class_weights,
    generator,
    interval,
    item_weights,
)

HALVINGS = 100
CLEARLY = 0.95


@dataclass(frozen=True)
class Measured:
    """What n items of one task say of everybody.

    values: by backbone or committee float64[n] in 0..1; truth: int64[n] where classes count alike, else null; score: by
    name the mean; resampled: by name float64[draws], the mean in every resample.
    """

    task: str
    values: Mapping[str, Floats]
    truth: Integers | None
    score: Mapping[str, float]
    resampled: Mapping[str, Floats]

    @classmethod
    def of(cls, task: str, values: Mapping[str, Floats], weights: Resamples, truth: Integers | None) -> Self:
        """`values` under the resamples of their task."""
        score = {name: weights.value(row) for name, row in values.items()}
        drawn = np.stack(list(values.values())) @ weights.draws.T
        return cls(task, values, truth, score, dict(zip(values, drawn, strict=True)))

    def points(self, names: Sequence[str]) -> Floats:
        """float64[b], scores of the named."""
        return np.array([self.score[name] for name in names])

    def drawn(self, names: Sequence[str]) -> Floats:
        """float64[b, draws], scores of the named in every resample."""
        return np.stack([self.resampled[name] for name in names])

    def halves(self, names: Sequence[str]) -> Floats:
        """float64[halvings, 2, b], scores of the named in random halves of the items."""
        stacked = np.stack([self.values[name] for name in names], axis=1)
        n = len(stacked)
        base = np.full(n, 1 / n) if self.truth is None else class_weights(self.truth)
        rng = generator(f"halves of {self.task}")
        first = np.stack([rng.permutation(n) < n // 2 for _ in range(HALVINGS)])
        both = [item_weights(mask, base) @ stacked for mask in (first, ~first)]
        return np.stack(both, axis=1)


@dataclass(frozen=True)
class Choice:
    """What it would be worth to know the best backbone of every task beforehand.

    `gap` is best per task less best fixed; both are chosen by the very scores that are shown, which flatters the choice
    per task more. `honest_gap` chooses both on one half of every task's items and scores them on the other (mean of
    random halvings). `best_on` names, by backbone, the tasks where it is best, `clearly_best_on` those where it is the
    best in at least 95% of the resamples.
    """

    best_fixed: str
    fixed: Score
    per_task: Score
    gap: Score
    honest_gap: float
    best_on: dict[str, tuple[str, ...]]
    clearly_best_on: dict[str, tuple[str, ...]]


def mean_score(tasks: Sequence[Measured], name: str) -> Score:
    """The mean over tasks of one backbone's or committee's score, items resampled within tasks."""
    drawn = np.stack([task.resampled[name] for task in tasks])
    return interval(float(np.mean([task.score[name] for task in tasks])), drawn.mean(axis=0))


def mean_difference(tasks: Sequence[Measured], name: str, other: str) -> Score:
    """The mean over tasks of `name`'s score less `other`'s, both on the same resamples."""
    names = (name, other)
    points = np.array([task.points(names) for task in tasks]).mean(axis=0)
    drawn = np.stack([task.drawn(names) for task in tasks]).mean(axis=0)
    return interval(float(points[0] - points[1]), drawn[0] - drawn[1])


def choice(tasks: Sequence[Measured], names: Sequence[str]) -> Choice:
    """Best fixed and best per task among the backbones `names`; ties go to the name that sorts first."""
    names = sorted(names)
    points = np.stack([task.points(names) for task in tasks])
    drawn = np.stack([task.drawn(names) for task in tasks])
    fixed, best = int(points.mean(axis=0).argmax()), points.argmax(axis=1)
    drawn_fixed = drawn[:, fixed].mean(axis=0)
    drawn_best = np.take_along_axis(drawn, best[:, None, None], axis=1)[:, 0].mean(axis=0)
    value_fixed, value_best = float(points[:, fixed].mean()), float(points.max(axis=1).mean())
    often = _how_often_best(drawn)
    return Choice(
        best_fixed=names[fixed],
        fixed=interval(value_fixed, drawn_fixed),
        per_task=interval(value_best, drawn_best),
        gap=interval(value_best - value_fixed, drawn_best - drawn_fixed),
        honest_gap=honest_gap(np.stack([task.halves(names) for task in tasks])),
        best_on={name: tuple(t.task for t, b in zip(tasks, best, strict=True) if names[b] == name) for name in names},
        clearly_best_on={
            name: tuple(t.task for t, share in zip(tasks, often[:, b], strict=True) if share >= CLEARLY)
            for b, name in enumerate(names)
        },
    )


def _how_often_best(drawn: Floats) -> Floats:
    """float64[t, b] from float64[t, b, draws]: in which share of the resamples nobody else is as good."""
    ranked = np.sort(drawn, axis=1)
    second = ranked[:, -2:-1] if drawn.shape[1] > 1 else np.full_like(ranked, -np.inf)
    return np.asarray((drawn > second).mean(axis=2))


def honest_gap(halves: Floats) -> float:
    """Best per task less best fixed, chosen on one half and scored on the other; halves: float64[t, halvings, 2, b]."""
    chosen, scored = halves, halves[:, :, ::-1]
    best = chosen.argmax(axis=3)[..., None]
    fixed = np.broadcast_to(chosen.mean(axis=0).argmax(axis=2)[None, ..., None], best.shape)
    difference = np.take_along_axis(scored, best, axis=3) - np.take_along_axis(scored, fixed, axis=3)
    return float(difference.mean())
