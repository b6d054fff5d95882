"""What a calibrated cascade is, and how one image walks through it: pure functions.

Backbones are numbers here, positions in the committee that the cascade was made for. An image is answered by those it
has asked; it leaves when its exit score reaches the threshold of its stage, else it asks the next ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequestError
from service.pipeline.cascade.router import Doubles, Router, mask_of, route_features, top_two

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
ExitScore = Literal["probability", "margin"]
StepReason = Literal["confident", "last_stage", "budget"]

NEVER: Final = math.inf
"""A threshold that no score reaches."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """`stages` in order; every backbone is in exactly one. `thresholds` and `temperatures` are one per stage, but the
    last threshold is missing: whoever comes that far leaves. With a router each stage is one backbone, thresholds go by
    how many were asked, the router knows the temperatures, and `stages` is but the fixed order that it was better than.
    """

    gflops: tuple[float, ...]
    exit_score: ExitScore
    stages: tuple[tuple[int, ...], ...]
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...]
    router: Router | None = None

    def __post_init__(self) -> None:
        asked = [member for stage in self.stages for member in stage]
        if sorted(asked) != list(range(len(self.gflops))) or not all(self.stages):
            raise ValueError(f"stages {self.stages} do not hold each of {len(self.gflops)} backbones once")
        if len(self.thresholds) != len(self.stages) - 1 or len(self.temperatures) != len(self.stages):
            raise ValueError("a cascade has a temperature per stage and a threshold per stage but the last")
        if any(math.isnan(value) for value in self.thresholds) or not all(0 < t < NEVER for t in self.temperatures):
            raise ValueError("thresholds are numbers, temperatures positive numbers")
        if self.router is not None and self.router.weights.shape[1] != len(self.gflops):
            raise ValueError("the router was made for another number of backbones")

    @property
    def gflops_full(self) -> float:
        return sum(self.gflops)

    @property
    def leaves_early(self) -> bool:
        """Whether any image can leave before the last stage."""
        return any(threshold < NEVER for threshold in self.thresholds)

    def temperature(self, stages: int, answered: Collection[int]) -> float:
        """Of the answer that the backbones `answered` give after `stages` completed stages."""
        if self.router is not None:
            return float(self.router.temperatures[mask_of(answered)])
        return self.temperatures[max(0, stages - 1)]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request asks for besides. Any of it voids the promise; `min_confidence` can only raise thresholds."""

    max_gflops: float | None = None
    min_confidence: float | None = None
    members: frozenset[int] | None = None

    @property
    def none(self) -> bool:
        return self.max_gflops is None and self.min_confidence is None and self.members is None


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Seen:
    """What one image knows: `logits` `float32[c]` of all that answered, combined; each one's own top label."""

    logits: Floats
    own_tops: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Step:
    """Ask `ask` next; when that is empty, leave with `reason`. The rest describes the answer known so far.

    `stages` counts the rounds of asking behind it. Scores are NaN while nobody has answered.
    """

    ask: tuple[int, ...]
    reason: StepReason | None
    stages: int
    temperature: float
    confidence: float
    exit_score: float


def probabilities(logits: Floats, temperature: float) -> Doubles:
    """`softmax(logits / temperature)`, `float64[n, c]` from `float32[n, c]`.

    Double precision: in single, all confident answers share the probability 1 and thresholds cannot tell them apart.
    """
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float64)


def exit_scores(chances: Doubles, kind: ExitScore) -> Doubles:
    """`float64[n]` from probabilities `float64[n, c]`: the maximum, or its margin over the second."""
    two = top_two(chances)
    return np.asarray(two[:, 0] if kind == "probability" else two[:, 0] - two[:, 1], dtype=np.float64)


def top_labels(logits: Floats) -> Integers:
    """The answer, `int64[n]` from logits `float32[n, c]`: the first of equals, in service as in calibration.

    From logits, not probabilities: the exponential can make equals of what differs.
    """
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def cheapest_first(gflops: Sequence[float]) -> Cascade:
    """A cascade without calibration: all in order of cost, who leave at once unless `min_confidence` says otherwise."""
    order = sorted(range(len(gflops)), key=lambda member: (gflops[member], member))
    stages = tuple((member,) for member in order)
    return Cascade(tuple(gflops), "probability", stages, (0.0,) * (len(stages) - 1), (1.0,) * len(stages))


def next_step(cascade: Cascade, asked: Sequence[int], seen: Seen | None, limits: Limits = NO_LIMITS) -> Step:
    """What an image does after it has asked `asked`, failed ones included; `seen` is None while nobody has answered.

    A score that is not a number never leaves. Raises `InvalidRequestError` when `limits` leave nobody to ask.
    """
    left = _allowed(cascade, limits) - set(asked)
    completed = _completed(cascade, asked, left)
    temperature = 1.0 if seen is None else cascade.temperature(completed, seen.own_tops)
    chances = None if seen is None else probabilities(seen.logits[None], temperature)
    known = _describe(cascade, asked, temperature, chances)
    if not left:
        return _leave(known, "last_stage")
    if _confident(cascade, completed, known, limits):
        return _leave(known, "confident")
    ask = _next_members(cascade, asked, left, seen, chances, limits)
    if ask:
        return Step(ask, None, known.stages, known.temperature, known.confidence, known.exit_score)
    if not asked:
        cheapest = min(cascade.gflops[member] for member in left)
        raise InvalidRequestError(
            f"max_gflops is {limits.max_gflops}, the cheapest backbone costs {cheapest:.4g}.", param="max_gflops"
        )
    return _leave(known, "budget")


def _leave(known: Step, reason: StepReason) -> Step:
    return Step((), reason, known.stages, known.temperature, known.confidence, known.exit_score)


def _allowed(cascade: Cascade, limits: Limits) -> set[int]:
    everyone = set(range(len(cascade.gflops)))
    if limits.members is None:
        return everyone
    if not limits.members or not limits.members <= everyone:
        raise InvalidRequestError("backbones must name at least one of the cascade's own.", param="backbones")
    return set(limits.members)


def _completed(cascade: Cascade, asked: Sequence[int], left: set[int]) -> int:
    """Up to which stage nobody is left to ask; with a router, how many were asked."""
    if cascade.router is not None:
        return len(asked)
    for number, stage in enumerate(cascade.stages):
        if left & set(stage):
            return number
    return len(cascade.stages)


def _describe(cascade: Cascade, asked: Sequence[int], temperature: float, chances: Doubles | None) -> Step:
    rounds = sum(1 for stage in cascade.stages if not set(stage).isdisjoint(asked))
    if chances is None:
        return Step((), None, rounds, temperature, math.nan, math.nan)
    score = float(exit_scores(chances, cascade.exit_score)[0])
    return Step((), None, rounds, temperature, float(chances.max()), score)


def _confident(cascade: Cascade, completed: int, known: Step, limits: Limits) -> bool:
    if not 1 <= completed <= len(cascade.thresholds):
        return False
    least = 0.0 if limits.min_confidence is None else limits.min_confidence
    return known.exit_score >= cascade.thresholds[completed - 1] and known.confidence >= least


def _next_members(
    cascade: Cascade,
    asked: Sequence[int],
    left: set[int],
    seen: Seen | None,
    chances: Doubles | None,
    limits: Limits,
) -> tuple[int, ...]:
    """Out of `left`, whom the budget still pays for; empty when nobody."""
    spent = sum(cascade.gflops[member] for member in asked)  # as if nothing were cached: a cache never changes the path
    budget = NEVER if limits.max_gflops is None else limits.max_gflops - spent
    if cascade.router is not None:
        payable = {member for member in left if cascade.gflops[member] <= budget}
        return _routed(cascade, cascade.router, payable, seen, chances)
    stage = next(stage for stage in cascade.stages if left & set(stage))
    return _payable(cascade, left & set(stage), budget)


def _routed(
    cascade: Cascade, router: Router, candidates: set[int], seen: Seen | None, chances: Doubles | None
) -> tuple[int, ...]:
    if not candidates:
        return ()
    if seen is None or chances is None:
        cheapest = min(candidates, key=lambda member: (cascade.gflops[member], member))
        return (router.first if router.first in candidates else cheapest,)
    own_tops = np.array([[seen.own_tops.get(member, -1) for member in range(len(cascade.gflops))]], dtype=np.int64)
    features = route_features(chances, own_tops)
    return (int(router.next_members(mask_of(seen.own_tops), features, candidates)[0]),)


def _payable(cascade: Cascade, members: set[int], budget: float) -> tuple[int, ...]:
    """The cheapest of a stage's `members` that `budget` pays for together, in order of cost."""
    taken: list[int] = []
    for member in sorted(members, key=lambda member: (cascade.gflops[member], member)):
        if cascade.gflops[member] <= budget:
            taken.append(member)
            budget -= cascade.gflops[member]
    return tuple(taken)
