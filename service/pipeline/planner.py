"""From how a caller wants to be answered to a plan: which policy applies, under which controller and cascade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from service.deadline import Deadline
from service.errors import ConflictError, InvalidRequestError
from service.pipeline.cascade.cascade import Cascade, Limits, cheapest_first
from service.pipeline.committee import Voice
from service.pipeline.controller.controller import Controller
from service.pipeline.plan import CascadeId, Plan, Promise, everyone_at_once, plain_plan
from service.policies import FALLBACK_POLICY, ArtefactKind, Policy
from service.repository import Backbone, Zoo
from service.stores.base import ArtefactVersion, StoredLabelSet


@dataclass(frozen=True, slots=True)
class Wish:
    """The caller's part of a plan, as it was sent."""

    policy: Policy | None = None
    backbones: tuple[str, ...] | None = None
    max_gflops: float | None = None
    min_confidence: float | None = None


@dataclass(frozen=True, slots=True)
class FittedController:
    """`name` is how callers know it: `label set/version`. The shipped generic one has no label set and no version."""

    name: str
    version: int | None
    controller: Controller


@dataclass(frozen=True, slots=True)
class FittedCascade:
    """`backbones` are the names behind the cascade's positions."""

    calibrated: CascadeId
    backbones: tuple[str, ...]
    cascade: Cascade
    promise: Promise

    def strangers(self, chosen: Sequence[Backbone]) -> list[str]:
        """Names of those that it was calibrated without: backbones that are no members of the committee."""
        return [backbone.name for backbone in chosen if backbone.name not in self.backbones]


@dataclass(frozen=True, slots=True)
class Standing:
    """An active version, and why it does not apply to its label set now: one sentence, None where it does."""

    about: ArtefactVersion
    reason: str | None


@dataclass(frozen=True, slots=True)
class Fitted:
    """What applies to a label set now: `controller` is its own, else the shipped generic one. `standing` has every
    active version of its own (or what stands in for one of another zoo), those that do not apply as well."""

    controller: FittedController | None = None
    cascade: FittedCascade | None = None
    standing: Mapping[ArtefactKind, Standing] = field(default_factory=dict)


class FittedSource(Protocol):
    async def of(self, stored: StoredLabelSet, deadline: Deadline) -> Fitted:
        """What was fitted for a label set and still applies."""


class Planner:
    """`generic` speaks for labels that were sent with the request; `fitted` knows who does for a label set."""

    def __init__(self, zoo: Zoo, fitted: FittedSource, generic: FittedController | None = None) -> None:
        self._zoo = zoo
        self._fitted = fitted
        self._unregistered = Fitted(generic)

    async def plan(self, wish: Wish, stored: StoredLabelSet | None, deadline: Deadline) -> Plan:
        """Raises `UnknownBackboneError`, `InvalidRequestError` for limits that do not go together with the policy, and
        `ConflictError` for a cascade that was never calibrated or no longer applies."""
        chosen = self._zoo.select(wish.backbones)
        if wish.policy in ("mean", "mean_logit", "single"):
            _check_no_min_confidence(wish)
            return plain_plan(wish.policy, chosen, Limits(max_gflops=wish.max_gflops))
        fitted = self._unregistered if stored is None else await self._fitted.of(stored, deadline)
        calibrated = fitted.cascade is not None and not fitted.cascade.strangers(chosen)
        if wish.policy == "cascade" or (wish.policy is None and (calibrated or wish.min_confidence is not None)):
            return self._cascade(wish, fitted, chosen)
        _check_no_min_confidence(wish)
        return _weighed(_speaker(fitted, chosen), chosen, Limits(max_gflops=wish.max_gflops))

    def _cascade(self, wish: Wish, fitted: Fitted, chosen: tuple[Backbone, ...]) -> Plan:
        controller, voice = _voice(_speaker(fitted, chosen))
        strangers = [] if fitted.cascade is None else fitted.cascade.strangers(chosen)
        if fitted.cascade is not None and not strangers:
            return self._calibrated(fitted.cascade, voice, controller, wish, chosen)
        if wish.min_confidence is None:
            raise _no_cascade(fitted, strangers)
        cascade = cheapest_first([backbone.gflops for backbone in chosen])
        limits = Limits(max_gflops=wish.max_gflops, min_confidence=wish.min_confidence)
        return Plan("cascade", chosen, voice, cascade, controller, limits)

    def _calibrated(
        self, fitted: FittedCascade, voice: Voice, controller: str | None, wish: Wish, chosen: Sequence[Backbone]
    ) -> Plan:
        # In the cascade's own order, whatever the zoo's is: its positions are all that the cascade knows them by.
        named = {backbone.name: backbone for backbone in self._zoo.backbones}
        backbones = tuple(named[name] for name in fitted.backbones)
        limits = _limits(wish, backbones, chosen)
        return Plan("cascade", backbones, voice, fitted.cascade, controller, limits, fitted.promise, fitted.calibrated)


def _weighed(fitted: FittedController | None, chosen: tuple[Backbone, ...], limits: Limits) -> Plan:
    """Policy `nlc`, or the plain mean where no controller speaks."""
    if fitted is None:
        return plain_plan(FALLBACK_POLICY, chosen, limits)
    return Plan("nlc", chosen, fitted.controller, everyone_at_once(chosen), fitted.name, limits)


def name_of(about: ArtefactVersion) -> str:
    """What callers know a version by."""
    return f"{about.label_set}/{about.version}"


def _speaker(fitted: Fitted, chosen: Sequence[Backbone]) -> FittedController | None:
    """The controller, where it knows everyone who is asked: members of the committee, not those beside it."""
    known = fitted.controller is not None and {each.name for each in chosen} <= set(
        fitted.controller.controller.backbones
    )
    return fitted.controller if known else None


def _no_cascade(fitted: Fitted, strangers: Sequence[str]) -> ConflictError:
    standing = fitted.standing.get("cascade")
    reason = "No cascade is calibrated for these labels."
    if strangers:
        reason = f'The cascade was calibrated with the committee, which "{strangers[0]}" is no member of.'
    elif standing is not None:
        reason = f"The cascade {name_of(standing.about)} does not apply. {standing.reason}"
    return ConflictError(
        f"{reason} Calibrate one with POST /v1/label-sets/{{name}}/cascade, choose another policy, or send "
        "min_confidence (then without promise).",
        param="policy",
    )


def _voice(fitted: FittedController | None) -> tuple[str | None, Voice]:
    return (None, "mean") if fitted is None else (fitted.name, fitted.controller)


def _limits(wish: Wish, backbones: Sequence[Backbone], chosen: Sequence[Backbone]) -> Limits:
    members = None if wish.backbones is None else frozenset(backbones.index(backbone) for backbone in chosen)
    return Limits(max_gflops=wish.max_gflops, min_confidence=wish.min_confidence, members=members)


def _check_no_min_confidence(wish: Wish) -> None:
    if wish.min_confidence is not None:
        raise InvalidRequestError(
            f"min_confidence goes with policy cascade, not {wish.policy}: no other policy leaves early.",
            param="min_confidence",
        )
