"""Learning whom an image should ask next, on the choosing part of the calibration data.

Every set of backbones is known for every image there, so what each next question would have led to can be worked out
backwards, from the full committee down, and a linear estimate of it from what is visible at that point fitted by ridge
regression (regression for optimal stopping: Longstaff and Schwartz 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from service.pipeline.cascade.cascade import ExitScore, Floats
from service.pipeline.cascade.router import PLAIN_FEATURES, Doubles, Router, members_of
from service.pipeline.cascade.search import Choice, search_order
from service.pipeline.cascade.threshold_path import (
    COARSE_PRICES,
    best_threshold,
    cost_at,
    outcomes,
    prices,
    threshold_path,
    wanted_step,
)
from service.pipeline.cascade.trace import (
    AnswerTable,
    Booleans,
    chain_masks,
    chain_trace,
    features_of,
    route_trace,
)

RIDGE: Final = 30.0
"""In images: how many it takes before a feature counts more than the average does."""
FOLDS: Final = 5
PRICE_FACTORS: Final = (1.0, 4.0)
"""In units of the fixed order's price per wrong answer, where that price alone may leave the router careless."""
ROUNDS: Final = 2
BUDGETS: Final = (0.5, 0.75, 1.0, 1.25, 1.5)
"""In units of the budget: at one point alone the comparison hangs on one or two wrong answers."""
MOST_BACKBONES: Final = 9
"""512 sets: 0.25 MB of router, and a minute of calibration. Each further one doubles both."""
FEWEST_IMAGES: Final = 100
"""On the choosing part. With fewer, folds are too small to tell a router from chance."""
WORTH_IT: Final = 0.02
"""A router must be cheaper than the fixed order by this share, or its further moving part is not worth having."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean GFLOPs on images held out in turn (`FOLDS` folds of the choosing part), mean over `BUDGETS`."""

    order_gflops: float
    router_gflops: float

    @property
    def saving(self) -> float:
        """Share of the fixed order's cost that the router saves; negative when it costs more."""
        return 1.0 - self.router_gflops / self.order_gflops

    @property
    def router_wins(self) -> bool:
        return self.saving >= WORTH_IT


def compare(table: AnswerTable, gflops: Sequence[float], choice: Choice, budget: float) -> Comparison:
    """The best fixed order against a router around a share `budget` of wrong answers, both fitted anew in each fold.

    Only the exit score is taken over from the whole of `table`: an order searched there would have seen the judges.
    """
    falling_prices = prices(len(table), sum(gflops), COARSE_PRICES)
    folds = np.arange(len(table)) % FOLDS
    parts = []
    for fold in range(FOLDS):
        fitted, judges = table.view(np.flatnonzero(folds != fold)), table.view(np.flatnonzero(folds == fold))
        found = replace(choice, stages=search_order(fitted, gflops, choice.exit_score, budget))
        router, routed_path = learn(fitted, gflops, found, falling_prices, budget)
        masks = chain_masks(found.stages)
        path = threshold_path(chain_trace(fitted, gflops, masks, choice.exit_score), falling_prices)
        order = chain_trace(judges, gflops, masks, choice.exit_score)
        routed = route_trace(judges, gflops, router, choice.exit_score)
        parts.append([*outcomes(order, path), *outcomes(routed, routed_path)])
    # Folds differ by an image at most: their plain mean is the mean over all images.
    order_errors, order_costs, router_errors, router_costs = np.mean(parts, axis=0)
    return Comparison(
        float(np.mean([cost_at(order_errors, order_costs, share * budget) for share in BUDGETS])),
        float(np.mean([cost_at(router_errors, router_costs, share * budget) for share in BUDGETS])),
    )


def learn(
    table: AnswerTable, gflops: Sequence[float], choice: Choice, falling_prices: Doubles, budget: float
) -> tuple[Router, Doubles]:
    """A router and the path of its thresholds, for the point where the fixed order gets a share `budget` wrong.

    Every backbone is tried as the first: what a fixed order begins with need not tell whom to ask next.
    """
    order = chain_trace(table, gflops, chain_masks(choice.stages), choice.exit_score)
    path = threshold_path(order, falling_prices)
    step = wanted_step(outcomes(order, path)[0], budget)
    price = float(falling_prices[max(0, step - (len(path) - len(falling_prices)))])
    fits = [fit_router(table, gflops, choice.exit_score, factor * price) for factor in PRICE_FACTORS]
    routers = [replace(router, first=first) for router in fits for first in range(table.backbones)]
    costs = [_routed_cost(table, gflops, choice, router, budget) for router in routers]
    best = routers[int(np.argmin(costs))]
    return best, threshold_path(route_trace(table, gflops, best, choice.exit_score), falling_prices)


def _routed_cost(table: AnswerTable, gflops: Sequence[float], choice: Choice, router: Router, budget: float) -> float:
    trace = route_trace(table, gflops, router, choice.exit_score)
    path = threshold_path(trace, prices(len(table), sum(gflops), COARSE_PRICES), enough=budget)
    return cost_at(*outcomes(trace, path), budget)


def fit_router(table: AnswerTable, gflops: Sequence[float], kind: ExitScore, price: float) -> Router:
    """The router for a `price` in GFLOPs per wrong answer. Whom to begin with is left open (0): nothing depends on it.

    For the fit alone every set has a threshold of its own, the best at that price.
    """
    b = table.backbones
    weights = np.zeros((1 << b, b, PLAIN_FEATURES + b), dtype=np.float32)
    temperatures = np.array([1.0, *(table[mask].temperature for mask in range(1, 1 << b))])
    router = Router(0, weights, temperatures)  # reads `weights` while they are filled in
    ahead = np.zeros((1 << b, len(table)))  # what an image still costs once a set has answered
    for mask in sorted(range(1, table.full), key=lambda mask: -mask.bit_count()):
        others = members_of(table.full & ~mask)
        costs = np.stack([gflops[other] + ahead[mask | 1 << other] for other in others], axis=1)
        scores, features = table[mask].scores[kind], features_of(table, mask)
        staying = np.ones(len(table), dtype=np.bool_)
        for _ in range(ROUNDS):  # who leaves depends on where the others go, and the other way round
            weights[mask, list(others)] = _regress(features, costs, staying)
            chosen = np.searchsorted(others, router.next_members(mask, features, others))
            onward = costs[np.arange(len(table)), chosen]
            order = np.argsort(-scores, kind="stable")
            staying = scores < best_threshold(scores[order], (onward - price * table.wrong(mask))[order])
        ahead[mask] = np.where(staying, onward, price * table.wrong(mask))
    return router


def _regress(features: Doubles, costs: Doubles, staying: Booleans) -> Floats:
    """Ridge regression of `costs` `float64[n, m]` on `features` over the images that stay; `float32[m, f]`.

    Features are centred and scaled, so that the pull is towards the average cost and the same for all; the result is
    for the features as they are (the first of which is one).
    """
    x, y = (features[staying], costs[staying]) if staying.any() else (features, costs)
    mean, deviation = x[:, 1:].mean(axis=0), x[:, 1:].std(axis=0)
    deviation[deviation < 1e-9] = np.inf  # a constant tells nothing: its slope becomes zero
    scaled = (x[:, 1:] - mean) / deviation
    average = y.mean(axis=0)
    gram = scaled.T @ scaled + RIDGE * np.eye(scaled.shape[1])
    slopes = np.linalg.solve(gram, scaled.T @ (y - average)) / deviation[:, None]
    return np.asarray(np.concatenate([(average - mean @ slopes)[None], slopes]).T, dtype=np.float32)
