"""What images do in a cascade: what every set of backbones answers, and each image's way through such sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.pipeline.cascade.cascade import (
    Cascade,
    ExitScore,
    Floats,
    Integers,
    exit_scores,
    probabilities,
    top_labels,
)
from service.pipeline.cascade.router import Doubles, Router, mask_of, members_of, route_features

Booleans = NDArray[np.bool_]
Combine = Callable[[Sequence[int]], Floats]
"""Logits `float32[n, c]` of the committee restricted to some of its members, under the pinned controller."""

LOWEST, HIGHEST = 0.02, 50.0
"""Of a stage's temperature."""
PULL: Final = 1.0
"""Towards temperature 1, in images. Without it a set that always agrees with the target has no best temperature."""
NEWTON_STEPS: Final = 50
NEGLIGIBLE: Final = 200.0
"""Nats below the largest logit. Log-probabilities can be minus infinity, which no slope can be taken of."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one set of backbones says. `top` `int64[n]`; `scores` `float64[n]` each; `features` `float64[n, 4]`: what
    a router reads of it, agreement aside (`route_features`)."""

    temperature: float
    top: Integers
    scores: dict[ExitScore, Doubles]
    features: Doubles

    def at(self, rows: Integers) -> Answer:
        scores = {kind: values[rows] for kind, values in self.scores.items()}
        return Answer(self.temperature, self.top[rows], scores, self.features[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Levels of `n` images, each on its own way: what leaving there would mean. All `[k, n]`, the last level is the
    full committee, which is never wrong. `scores` and `gflops` (of everything asked by then) are float64."""

    scores: Doubles
    wrong: Booleans
    gflops: Doubles
    top: Integers

    @property
    def images(self) -> int:
        return int(self.scores.shape[1])

    def at(self, rows: Integers) -> Trace:
        return Trace(self.scores[:, rows], self.wrong[:, rows], self.gflops[:, rows], self.top[:, rows])

    def levels(self, thresholds: Sequence[float] | Doubles) -> Integers:
        """`int64[n]`: the first level whose score reaches its threshold (`k - 1` of them), else the last."""
        leaves = np.ones(self.scores.shape, dtype=np.bool_)
        leaves[:-1] = self.scores[:-1] >= np.asarray(thresholds, dtype=np.float64)[:, None]
        return np.asarray(leaves.argmax(axis=0), dtype=np.int64)

    def outcome(self, thresholds: Sequence[float] | Doubles) -> tuple[int, float]:
        """How many images leave with another answer than the full committee's, and the mean cost in GFLOPs."""
        levels, images = self.levels(thresholds), np.arange(self.images)
        return int(self.wrong[levels, images].sum()), float(self.gflops[levels, images].mean())


class AnswerTable:
    """Answers of sets of backbones on chosen rows, worked out when first asked for.

    `targets` `int64[n]` is what temperatures are fitted to: true labels, or None for the full committee's own answers
    (the full committee then keeps temperature 1: fitted to itself it would have none). Raises `ValueError` for logits
    that are not numbers.
    """

    def __init__(self, combine: Combine, backbones: int, rows: Integers, targets: Integers | None = None) -> None:
        self.backbones = backbones
        self.full = (1 << backbones) - 1
        self._combine, self._rows, self._targets = combine, rows, targets
        self._known: dict[int, Answer] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, mask: int) -> Answer:
        if mask not in self._known:
            self._known[mask] = self._answer(mask)
        return self._known[mask]

    def wrong(self, mask: int) -> Booleans:
        """`bool[n]`: where the set's answer is not the full committee's."""
        return np.asarray(self[mask].top != self[self.full].top)

    def own_tops(self, mask: int) -> Integers:
        """`int64[n, b]`: each member's own top label, -1 for backbones outside the set."""
        tops = np.full((len(self), self.backbones), -1, dtype=np.int64)
        for member in members_of(mask):
            tops[:, member] = self[1 << member].top
        return tops

    def view(self, rows: Integers) -> AnswerTable:
        """The same answers on some of the rows, temperatures included; nothing is computed twice."""
        return _View(self, rows)

    def _answer(self, mask: int) -> Answer:
        logits = logits_of(self._combine, members_of(mask), self._rows)
        top = top_labels(logits)
        temperature = self._temperature(mask, logits)
        return describe(logits, temperature, top)

    def _temperature(self, mask: int, logits: Floats) -> float:
        if self._targets is not None:
            return fit_temperature(logits, self._targets)
        return 1.0 if mask == self.full else fit_temperature(logits, self[self.full].top)


class _View(AnswerTable):
    def __init__(self, table: AnswerTable, rows: Integers) -> None:
        super().__init__(table._combine, table.backbones, rows)
        self._table = table

    def _answer(self, mask: int) -> Answer:
        return self._table[mask].at(self._rows)


class FixedTemperatures(AnswerTable):
    """Answers at temperatures that are known already: a finished cascade on new images."""

    def __init__(self, combine: Combine, backbones: int, rows: Integers, temperature: Callable[[int], float]) -> None:
        super().__init__(combine, backbones, rows)
        self._of = temperature

    def _temperature(self, mask: int, logits: Floats) -> float:  # noqa: ARG002 - a fit would need them
        return self._of(mask)


def logits_of(combine: Combine, members: Sequence[int], rows: Integers) -> Floats:
    """`float32[rows, c]`. Raises `ValueError` where a row is no row of logits (no number, or no finite maximum)."""
    logits = combine(members)[rows]
    broken = int((~np.isfinite(logits.max(axis=1))).sum())
    if broken:
        raise ValueError(f"backbones {tuple(members)} give {broken} of {len(rows)} images logits that are not numbers")
    return logits


def describe(logits: Floats, temperature: float, top: Integers) -> Answer:
    chances = probabilities(logits, temperature)
    kinds: tuple[ExitScore, ExitScore] = ("probability", "margin")
    features = route_features(chances, np.empty((len(logits), 0), dtype=np.int64))
    return Answer(temperature, top, {kind: exit_scores(chances, kind) for kind in kinds}, features)


def fit_temperature(logits: Floats, targets: Integers) -> float:
    """The T that minimises the negative log likelihood of `targets` plus a pull of one image's weight towards 1.

    In 1 / T the likelihood is convex, and so is the pull w (x - 1 - log x): Newton's method finds the one minimum.
    Raises `ValueError` for targets that are no class.
    """
    if not ((targets >= 0) & (targets < logits.shape[1])).all():
        raise ValueError(f"labels are numbers from 0 to {logits.shape[1] - 1}, not {targets.min()} to {targets.max()}")
    z = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    z = np.maximum(z, -NEGLIGIBLE)
    target = z[np.arange(len(z)), targets].sum()
    inverse = 1.0
    for _ in range(NEWTON_STEPS):
        weights = np.exp(inverse * z)
        weights /= weights.sum(axis=1, keepdims=True)
        mean = (weights * z).sum(axis=1)
        slope = mean.sum() - target + PULL * (1 - 1 / inverse)
        bend = (weights * z * z).sum() - (mean * mean).sum() + PULL / inverse**2
        # At most a factor of two a step: far from the minimum the quadratic model is not to be trusted.
        moved = float(np.clip(inverse - slope / bend, inverse / 2, inverse * 2))
        moved = float(np.clip(moved, 1 / HIGHEST, 1 / LOWEST))
        if abs(moved - inverse) <= 1e-9 * inverse:
            break
        inverse = moved
    return 1 / inverse


def chain_masks(stages: Sequence[Sequence[int]]) -> list[int]:
    """The sets that have answered after each stage."""
    masks = [mask_of(stages[0])]
    for stage in stages[1:]:
        masks.append(masks[-1] | mask_of(stage))
    return masks


def chain_trace(table: AnswerTable, gflops: Sequence[float], masks: Sequence[int], kind: ExitScore) -> Trace:
    """The levels of a fixed order; `masks` need not end with the full committee, which is added."""
    levels = [*masks, table.full] if masks[-1] != table.full else list(masks)
    costs = [sum(gflops[member] for member in members_of(mask)) for mask in levels]
    return Trace(
        np.stack([table[mask].scores[kind] for mask in levels]),
        np.stack([table.wrong(mask) for mask in levels]),
        np.repeat(np.array(costs)[:, None], len(table), axis=1),
        np.stack([table[mask].top for mask in levels]),
    )


def route_trace(table: AnswerTable, gflops: Sequence[float], router: Router, kind: ExitScore) -> Trace:
    """The levels of each image's own way under a router, one backbone a level."""
    ways = routes(table, router)
    costs = np.array([sum(gflops[member] for member in members_of(mask)) for mask in range(table.full + 1)])
    scores, wrong = np.empty(ways.shape), np.empty(ways.shape, dtype=np.bool_)
    top = np.empty(ways.shape, dtype=np.int64)
    for level, way in enumerate(ways):
        for mask in np.unique(way):
            rows = way == mask
            scores[level, rows] = table[mask].scores[kind][rows]
            wrong[level, rows] = table.wrong(mask)[rows]
            top[level, rows] = table[mask].top[rows]
    return Trace(scores, wrong, costs[ways], top)


def routes(table: AnswerTable, router: Router) -> Integers:
    """`int64[b, n]`: the set that has answered each image after every level, if it never left."""
    ways = np.empty((table.backbones, len(table)), dtype=np.int64)
    ways[0] = 1 << router.first
    for level in range(1, table.backbones):
        for mask in map(int, np.unique(ways[level - 1])):
            rows = np.flatnonzero(ways[level - 1] == mask)
            chosen = router.next_members(mask, features_of(table, mask)[rows], members_of(table.full & ~mask))
            ways[level, rows] = mask | np.left_shift(1, chosen)
    return ways


def features_of(table: AnswerTable, mask: int) -> Doubles:
    """What a router reads after the set `mask` has answered, `float64[n, 4 + b]`."""
    answer = table[mask]
    return np.column_stack([answer.features, table.own_tops(mask) == answer.top[:, None]])


def replay(cascade: Cascade, combine: Combine, rows: Integers) -> Trace:
    """What a finished cascade makes of images, level by level: the offline twin of `next_step`."""
    backbones = len(cascade.gflops)
    if cascade.router is not None:
        temperatures = cascade.router.temperatures
        table = FixedTemperatures(combine, backbones, rows, lambda mask: float(temperatures[mask]))
        return route_trace(table, cascade.gflops, cascade.router, cascade.exit_score)
    masks = chain_masks(cascade.stages)
    of_stage = dict(zip(masks, cascade.temperatures, strict=True))
    table = FixedTemperatures(combine, backbones, rows, lambda mask: of_stage.get(mask, 1.0))
    return chain_trace(table, cascade.gflops, masks, cascade.exit_score)
