"""What a calibration has to say about the cascade that it made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service.pipeline.cascade.cascade import Cascade, ExitScore

FixedBy = Literal["given", "labels", "agreement"]
TemperaturesBy = Literal["labels", "committee"]
Routing = Literal["order", "router"]


@dataclass(frozen=True, slots=True)
class FixedBackbone:
    """The best single backbone, what it costs, and how it was found: `given`, most accurate by `labels`, or (without
    any) most often in `agreement` with the full committee, on the choosing part."""

    member: int
    gflops: float
    by: FixedBy


@dataclass(frozen=True, slots=True)
class AccuracyGap:
    """On the testing part. `observed` is the share that the cascade gets wrong minus the full committee's.
    It is at most `bound` with probability >= 1 - delta, by a test of its own (None: no bound up to epsilon passed).
    """

    accuracy: float
    accuracy_full: float
    observed: float
    bound: float | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the choosing part decided, and why. Costs are mean GFLOPs per image on that part at the share `budget` of
    wrong answers, which is what the testing part can let pass."""

    images: int
    budget: float
    temperatures_by: TemperaturesBy
    exit_score: ExitScore
    exit_score_gflops: dict[ExitScore, float]
    exit_score_reason: str
    routing: Routing
    routing_reason: str
    order_gflops: float | None
    """Of the fixed order on held-out images; None where it was not compared with a router."""
    router_gflops: float | None
    best_fixed: FixedBackbone


@dataclass(frozen=True, slots=True)
class Tested:
    """What the testing part said about the path. `step` is the last that passed (0 lets nobody leave, None: not even
    that can be promised with so few images); `disagreements` and `p_value` are its own."""

    images: int
    path_steps: int
    step: int | None
    disagreements: int
    disagreements_allowed: int
    p_value: float
    disagreements_beyond: int | None
    """Of the next step, which did not pass; None when the path ends here."""
    gflops: float
    exit_shares: tuple[float, ...]
    """By stage; they sum to 1."""
    accuracy_gap: AccuracyGap | None
    """None without labels."""


@dataclass(frozen=True, slots=True)
class Report:
    """`images_needed` is the fewest distinct images with which anybody can leave early at this epsilon and delta.
    `message` says why nobody does, when that is so. `chosen` is None with too few images to choose anything."""

    epsilon: float
    delta: float
    images_needed: int
    dropped_duplicates: int
    dropped_fitted: int
    gflops_full: float
    chosen: Chosen | None
    tested: Tested
    message: str | None

    @property
    def router_saving(self) -> float | None:
        """Share of the fixed order's GFLOPs that the router saves on held-out images; None where not compared."""
        if self.chosen is None or self.chosen.order_gflops is None or self.chosen.router_gflops is None:
            return None
        return 1.0 - self.chosen.router_gflops / self.chosen.order_gflops


@dataclass(frozen=True, slots=True)
class Calibrated:
    cascade: Cascade
    report: Report
