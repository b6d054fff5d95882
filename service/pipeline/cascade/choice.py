"""Everything that the choosing part of the calibration data decides; the testing part is not within reach here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.pipeline.cascade.cascade import Cascade, ExitScore, Integers
from service.pipeline.cascade.report import Chosen, FixedBackbone
from service.pipeline.cascade.router import Doubles, Router
from service.pipeline.cascade.router_fit import FEWEST_IMAGES, MOST_BACKBONES, WORTH_IT, Comparison, compare, learn
from service.pipeline.cascade.search import Choice, search
from service.pipeline.cascade.threshold_path import PRICES, prices, threshold_path
from service.pipeline.cascade.trace import AnswerTable, Combine, chain_masks, chain_trace

FARTHEST: Final = 3.0
"""In units of epsilon: the share of wrong answers at which a path may end, since no test will let it come that far."""
NAMES: Final[dict[ExitScore, str]] = {"probability": "the maximum probability", "margin": "the margin"}

Stages = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """`stages` are searched when None; `best_fixed` is the backbone to compare costs with, found when None."""

    epsilon: float
    delta: float
    stages: Stages | None = None
    best_fixed: int | None = None
    routing: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """`path` is `float64[steps, stages - 1]`: thresholds from nobody leaves to far too many do."""

    gflops: tuple[float, ...]
    exit_score: ExitScore
    stages: Stages
    temperatures: tuple[float, ...]
    router: Router | None
    path: Doubles
    chosen: Chosen

    def cascade(self, step: int) -> Cascade:
        thresholds = tuple(float(value) for value in self.path[step])
        return Cascade(self.gflops, self.exit_score, self.stages, thresholds, self.temperatures, self.router)


def choose(
    combine: Combine,
    gflops: Sequence[float],
    rows: Integers,
    labels: Integers | None,
    request: CalibrationRequest,
    budget: float,
) -> Plan:
    """The plan made on `rows` alone for a share `budget` of wrong answers; `labels` `int64[rows]` where known.

    Without labels temperatures are fitted to the full committee's own answers: a probability is then the chance that
    the committee would agree.
    """
    table = AnswerTable(combine, len(gflops), rows, labels)
    choice = search(table, gflops, budget, request.stages)
    comparison, why = _compare(table, gflops, choice, request, budget)
    falling_prices = prices(len(table), sum(gflops), PRICES)
    router: Router | None = None
    if comparison is not None and comparison.router_wins:
        router, path = learn(table, gflops, choice, falling_prices, budget)
    else:
        order = chain_trace(table, gflops, chain_masks(choice.stages), choice.exit_score)
        # A handful beyond: on few images a single wrong answer is a large share.
        path = threshold_path(order, falling_prices, FARTHEST * request.epsilon + 5 / len(table))
    chosen = Chosen(
        images=len(table),
        budget=budget,
        temperatures_by="committee" if labels is None else "labels",
        exit_score=choice.exit_score,
        exit_score_gflops=choice.gflops,
        exit_score_reason=_exit_score_reason(choice, budget, len(table)),
        routing="order" if router is None else "router",
        routing_reason=why,
        order_gflops=None if comparison is None else comparison.order_gflops,
        router_gflops=None if comparison is None else comparison.router_gflops,
        best_fixed=_best_fixed(table, gflops, labels, request.best_fixed),
    )
    temperatures = tuple(table[mask].temperature for mask in chain_masks(choice.stages))
    return Plan(tuple(gflops), choice.exit_score, choice.stages, temperatures, router, path, chosen)


def _exit_score_reason(choice: Choice, budget: float, images: int) -> str:
    taken, other = choice.exit_score, next(kind for kind in NAMES if kind != choice.exit_score)
    verb = "costs" if choice.gflops[taken] < choice.gflops[other] else "costs no more:"
    return (
        f"At {budget:.2%} of wrong answers on {images} choosing images {NAMES[taken]} {verb} "
        f"{choice.gflops[taken]:.4g} GFLOPs per image, {NAMES[other]} {choice.gflops[other]:.4g}."
    )


def _compare(
    table: AnswerTable, gflops: Sequence[float], choice: Choice, request: CalibrationRequest, budget: float
) -> tuple[Comparison | None, str]:
    """Order against router, where there is something to compare, and the verdict in words."""
    if not request.routing:
        return None, "Routing was switched off."
    if request.stages is not None:
        return None, "The stages were given."
    if len(gflops) < 3:
        return None, "With fewer than three backbones there is no choice whom to ask next."
    if len(gflops) > MOST_BACKBONES:
        return None, f"A router is a table of all sets of backbones, and is made for {MOST_BACKBONES} of them at most."
    if len(table) < FEWEST_IMAGES:
        return None, f"{len(table)} choosing images are too few to compare orders with a router ({FEWEST_IMAGES})."
    found = compare(table, gflops, choice, budget)
    verdict = "cheaper" if found.saving >= 0 else "dearer"
    return found, (
        f"On held-out choosing images the router is {abs(found.saving):.1%} {verdict} than the best fixed order around "
        f"{budget:.2%} of wrong answers ({found.router_gflops:.4g} against {found.order_gflops:.4g} GFLOPs per image); "
        f"it is used from {WORTH_IT:.0%} cheaper on."
    )


def _best_fixed(
    table: AnswerTable, gflops: Sequence[float], labels: Integers | None, given: int | None
) -> FixedBackbone:
    if given is not None:
        return FixedBackbone(given, gflops[given], "given")
    truth = table[table.full].top if labels is None else labels
    right = [int((table[1 << member].top == truth).sum()) for member in range(len(gflops))]
    best = min(range(len(gflops)), key=lambda member: (-right[member], gflops[member], member))
    return FixedBackbone(best, gflops[best], "agreement" if labels is None else "labels")
