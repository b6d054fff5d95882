"""Paths of threshold vectors from safe to aggressive, made on the choosing part of the calibration data.

Every step minimises `mean GFLOPs + price * share of wrong answers` for one price of a wrong answer; prices fall along
the path. Given the other levels' thresholds the best one of a level is found exactly, by sorting; levels are revisited
until nothing moves. Thresholds never rise along a path: an image that leaves at one step leaves no later at the next.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from service.pipeline.cascade.cascade import NEVER, Integers
from service.pipeline.cascade.router import Doubles
from service.pipeline.cascade.trace import Trace

SWEEPS: Final = 4
PRICES: Final = 96
COARSE_PRICES: Final = 14
RAMP: Final = 10
"""Steps before the first priced one. That one leaves as much as makes no error on the choosing part, which is more than
is safe: each of these lets out a growing share of it."""
RAMP_STARTS_AT: Final = 1 / 32


def prices(images: int, gflops_full: float, steps: int) -> Doubles:
    """`float64[steps]`, GFLOPs per wrong answer, falling: from what no saving outweighs to what hardly matters."""
    highest = 2.0 * images * gflops_full
    return np.geomspace(highest, 0.05 * gflops_full, steps)


def threshold_path(trace: Trace, falling_prices: Doubles, enough: float = 1.0) -> Doubles:
    """`float64[1 + RAMP + prices, k - 1]`, no row higher than the one before it anywhere; at the first nobody leaves.

    The path ends with the first step that gets more than a share `enough` of the images wrong.
    """
    levels = len(trace.scores) - 1
    orders = [np.argsort(-scores, kind="stable") for scores in trace.scores[:-1]]
    current = np.full(levels, NEVER)
    rows = []
    for price in falling_prices:
        current = np.minimum(current, _settle(trace, orders, float(price), current))
        rows.append(current)
        if enough < 1.0 and trace.outcome(current)[0] > enough * trace.images:
            break
    return np.concatenate([np.full((1, levels), NEVER), _ramp(trace, rows[0]), np.stack(rows)])


def _settle(trace: Trace, orders: list[Integers], price: float, start: Doubles) -> Doubles:
    thresholds = start.copy()
    worth = trace.gflops + price * trace.wrong
    for _ in range(SWEEPS):
        before = thresholds.copy()
        for level in reversed(range(len(thresholds))):
            thresholds[level] = _best_of_level(trace, worth, orders[level], thresholds, level)
        if np.array_equal(before, thresholds):
            break
    return thresholds


def _best_of_level(trace: Trace, worth: Doubles, order: Integers, thresholds: Doubles, level: int) -> float:
    """The threshold of one level that is best for the images that reach it, the others' being as they are.

    `worth`: `float64[k, n]`, what leaving at a level costs; `order`: images by falling score at this level.
    """
    reached = np.ones(trace.images, dtype=np.bool_)
    for earlier in range(level):
        reached &= trace.scores[earlier] < thresholds[earlier]
    staying = worth[-1].copy()
    for later in reversed(range(level + 1, len(thresholds))):
        np.copyto(staying, worth[later], where=trace.scores[later] >= thresholds[later])
    gains = np.where(reached, staying - worth[level], 0.0)
    return best_threshold(trace.scores[level][order], gains[order])


def best_threshold(scores: Doubles, gains: Doubles) -> float:
    """The threshold with the largest sum of gains of those who reach it, both `float64[n]` by falling score.

    Never, unless somebody's leaving pays.
    """
    total = np.cumsum(gains)
    total[:-1][scores[1:] == scores[:-1]] = -NEVER  # equals leave together or not at all
    best = int(total.argmax())  # the first of equals: no more leave than pays
    return _below(scores, best) if total[best] > 0 else NEVER


def _below(scores: Doubles, position: int) -> float:
    """A threshold that `scores[position]` reaches and nothing after it (falling order): midway, so that rounding at
    serving time moves nobody across."""
    least = float(scores[position])
    rest = scores[position + 1 :]
    if not len(rest):
        return 0.0  # where all of these leave, all others may: the test will tell
    middle = (least + float(rest[0])) / 2
    return middle if middle > rest[0] else least


def _ramp(trace: Trace, target: Doubles) -> Doubles:
    """`float64[RAMP, k - 1]`: thresholds that let out a growing share of those who leave at each level of `target`."""
    levels = trace.levels(target)
    shares = np.geomspace(RAMP_STARTS_AT, 1.0, RAMP + 1)[:-1]
    ramp = np.full((RAMP, len(target)), NEVER)
    for level in range(len(target)):
        leaving = -np.sort(-trace.scores[level][levels == level])
        for step, share in enumerate(shares):
            count = int(share * len(leaving))
            if count:
                ramp[step, level] = max(float(leaving[count - 1]), float(target[level]))
    return ramp


def cost_at(errors: Doubles, costs: Doubles, budget: float) -> float:
    """What a path costs where its share of `errors` reaches `budget`, on the straight line between two steps.

    The path is taken up to the first step beyond the budget, as the test will take it; it begins with no errors. The
    line stands for tossing a coin between both steps, and makes paths comparable whose steps fall differently.
    """
    beyond = np.flatnonzero(errors > budget)
    if not len(beyond):
        return float(costs[-1])
    j = int(beyond[0])
    share = (budget - errors[j - 1]) / (errors[j] - errors[j - 1])
    return float(costs[j - 1] + share * (costs[j] - costs[j - 1]))


def outcomes(trace: Trace, path: Doubles) -> tuple[Doubles, Doubles]:
    """Share of wrong answers and mean GFLOPs of every step, `float64[steps]` each."""
    results = [trace.outcome(thresholds) for thresholds in path]
    images = trace.images
    return np.array([wrong / images for wrong, _ in results]), np.array([gflops for _, gflops in results])


def wanted_step(errors: Doubles, budget: float) -> int:
    """The last step of a path before its share of `errors` first exceeds `budget`."""
    beyond = np.flatnonzero(errors > budget)
    return int(beyond[0]) - 1 if len(beyond) else len(errors) - 1
