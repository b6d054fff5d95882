"""How one request is going to be answered: who may be asked, in which order, and whose word counts how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from service.pipeline.cascade.cascade import NO_LIMITS, Cascade, Limits
from service.pipeline.committee import Voice
from service.policies import Policy
from service.repository import Backbone


@dataclass(frozen=True, slots=True)
class Promise:
    """With probability >= 1 - `delta` over the calibration, the top label is the full committee's on all but a share
    `epsilon` of inputs."""

    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True)
class CascadeId:
    """Which calibration a promise comes from. By its time too: a label set that was deleted and made anew counts its
    versions from 1 again."""

    label_set: str
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """`cascade` speaks of backbones by their positions in `backbones`. `controller` is what callers know the voice by;
    None for a plain mean. `promise` holds for images that leave as `confident` or at the `last_stage`; `calibrated`
    says where it comes from."""

    policy: Policy
    backbones: tuple[Backbone, ...]
    voice: Voice
    cascade: Cascade
    controller: str | None = None
    limits: Limits = NO_LIMITS
    promise: Promise | None = None
    calibrated: CascadeId | None = None


def everyone_at_once(backbones: Sequence[Backbone]) -> Cascade:
    """One stage: what every policy but `cascade` does."""
    gflops = tuple(backbone.gflops for backbone in backbones)
    return Cascade(gflops, "probability", (tuple(range(len(gflops))),), (), (1.0,))


def plain_plan(policy: Policy, backbones: tuple[Backbone, ...], limits: Limits = NO_LIMITS) -> Plan:
    """Policy `mean`, `mean_logit` or `single`."""
    voice: Voice = "mean" if policy == "mean" else "mean_logit"
    return Plan(policy, backbones, voice, everyone_at_once(backbones), limits=limits)
