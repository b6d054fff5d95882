"""The order in which backbones are asked and the score that lets images leave, searched on the choosing part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from service.pipeline.cascade.cascade import ExitScore
from service.pipeline.cascade.router import mask_of
from service.pipeline.cascade.threshold_path import COARSE_PRICES, cost_at, outcomes, prices, threshold_path
from service.pipeline.cascade.trace import AnswerTable, chain_masks, chain_trace

BEAM: Final = 12
"""Prefixes kept per length. On made-up committees of five and six, six found the best of all orders."""
KINDS: Final[tuple[ExitScore, ExitScore]] = ("probability", "margin")

Stages = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """`gflops` is the mean cost on the choosing part at the budget of wrong answers, by exit score."""

    stages: Stages
    exit_score: ExitScore
    gflops: dict[ExitScore, float]


def chain_cost(
    table: AnswerTable, gflops: Sequence[float], stages: Sequence[Sequence[int]], kind: ExitScore, budget: float
) -> float:
    """Mean GFLOPs of a fixed order at a share `budget` of wrong answers; whom `stages` leave out comes last."""
    trace = chain_trace(table, gflops, chain_masks(stages), kind)
    if len(trace.scores) == 1:
        return float(trace.gflops[0, 0])
    path = threshold_path(trace, prices(len(table), sum(gflops), COARSE_PRICES), enough=budget)
    return cost_at(*outcomes(trace, path), budget)


def search(table: AnswerTable, gflops: Sequence[float], budget: float, stages: Stages | None = None) -> Choice:
    """The order (unless `stages` is given) and exit score of least mean GFLOPs at a share `budget` of wrong answers."""
    found: dict[ExitScore, tuple[float, Stages]] = {}
    for kind in KINDS:
        chosen = stages or search_order(table, gflops, kind, budget)
        found[kind] = (chain_cost(table, gflops, chosen, kind, budget), chosen)
    best = min(KINDS, key=lambda kind: found[kind][0])  # of equals the maximum probability, which callers see anyway
    return Choice(found[best][1], best, {kind: cost for kind, (cost, _) in found.items()})


def search_order(table: AnswerTable, gflops: Sequence[float], kind: ExitScore, budget: float) -> Stages:
    """One backbone a stage, by beam search from the cheapest on.

    A prefix is worth what it costs when everyone else is asked together after it, which no longer order of the same
    prefix can exceed: a stage that lets nobody leave is free.
    """
    cheapest_first = sorted(range(table.backbones), key=lambda member: (gflops[member], member))
    beam: list[Stages] = [()]
    for _ in range(table.backbones - 1):
        longer = [(*prefix, (member,)) for prefix in beam for member in cheapest_first if (member,) not in prefix]
        cost = {stages: chain_cost(table, gflops, stages, kind, budget) for stages in longer}
        beam = sorted(longer, key=partial(_rank, cost, gflops))[:BEAM]
    asked = mask_of(member for stage in beam[0] for member in stage)
    return (*beam[0], *((member,) for member in cheapest_first if not asked >> member & 1))


def _rank(cost: dict[Stages, float], gflops: Sequence[float], stages: Stages) -> tuple[float, tuple[float, ...]]:
    """By cost; of equals the one that asks cheap backbones first."""
    return cost[stages], tuple(gflops[stage[0]] for stage in stages)
