"""One image on its way through the backbones: whom it asked, what they said, and what follows from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.errors import BackboneFailedError, DeadlineExceededError, QuorumError, UnavailableError
from service.pipeline.cascade.cascade import Seen, Step, next_step, probabilities
from service.pipeline.committee import combine
from service.pipeline.embed import Embedded
from service.pipeline.labels import LabelSet
from service.pipeline.logits import Floats, backbone_logits, cosines, weighted_cosine
from service.pipeline.plan import Plan, Promise
from service.policies import ExitReason, Policy
from service.repository import Backbone


@dataclass(frozen=True, slots=True)
class Prediction:
    label: str
    probability: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Vote:
    """What one backbone says about one image: `cosine` `float32[c]`, `probabilities` `float64[c]`."""

    backbone: Backbone
    weight: float
    cosine: Floats
    probabilities: NDArray[np.float64]
    cached: bool

    def top(self, label_set: LabelSet) -> Prediction:
        """What this backbone alone would have answered."""
        index = int(self.probabilities.argmax())
        return Prediction(label_set.labels[index], float(self.probabilities[index]), float(self.cosine[index]))


@dataclass(frozen=True, slots=True)
class Decision:
    """The committee's answer for one image: `probabilities` `float64[c]` and `cosine` `float32[c]`, by label.

    `failed` names the backbones that were asked and could not answer; `promise` is None where none is given;
    `gflops_spared` is the cost of the backbones that were not asked though the request allowed it.
    """

    label_set: LabelSet
    policy: Policy
    controller: str | None
    probabilities: NDArray[np.float64]
    cosine: Floats
    votes: tuple[Vote, ...]
    failed: tuple[str, ...]
    exit_reason: ExitReason
    exit_score: float
    stages: int
    promise: Promise | None
    gflops_spared: float

    @property
    def confidence(self) -> float:
        return float(self.probabilities.max())

    @property
    def degraded(self) -> bool:
        return self.exit_reason == "degraded"

    @property
    def gflops(self) -> float:
        """Work done for this image: cached votes cost nothing."""
        return sum(vote.backbone.gflops for vote in self.votes if not vote.cached)

    def predictions(self, top_k: int) -> list[Prediction]:
        """The `top_k` most probable labels, best first; ties keep the label set's order."""
        order = np.argsort(-self.probabilities, kind="stable")[:top_k]
        return [
            Prediction(self.label_set.labels[index], float(self.probabilities[index]), float(self.cosine[index]))
            for index in order
        ]


@dataclass(frozen=True, slots=True)
class _Answer:
    """One backbone's: its unit embedding `float32[d]`, cosines and logits `float32[c]`."""

    embedding: NDArray[np.float32]
    cosine: Floats
    logits: Floats
    cached: bool


@dataclass(slots=True)
class Walk:
    """`answers` and `failures` by position among the plan's backbones, in the order in which they came."""

    plan: Plan
    label_set: LabelSet
    asked: list[int] = field(default_factory=list)
    answers: dict[int, _Answer] = field(default_factory=dict)
    failures: dict[int, QuorumError] = field(default_factory=dict)
    _seen: Seen | None = None
    _weights: dict[int, np.float32] = field(default_factory=dict)

    def next(self) -> Step:
        """What to do now. Raises `InvalidRequestError` when the request's limits leave nobody to ask."""
        return next_step(self.plan.cascade, self.asked, self._seen, self.plan.limits)

    def hear(
        self,
        asked: Sequence[int],
        embedded: Mapping[str, Embedded] | QuorumError,
        matrices: Mapping[str, Floats | QuorumError],
    ) -> None:
        """Take in what the backbones at positions `asked` gave; `matrices` are class embeddings `float32[c, d]`."""
        for position in asked:
            backbone = self.plan.backbones[position]
            given = Embedded(embedded) if isinstance(embedded, QuorumError) else embedded[backbone.name]
            self.asked.append(position)
            answer = _answer(backbone, given, matrices[backbone.name])
            if isinstance(answer, QuorumError):
                self.failures[position] = answer
            else:
                self.answers[position] = answer
        if self.answers:
            self._combine()

    def decide(self, step: Step, *, late: bool = False) -> Decision | QuorumError:
        """The answer at `step`, or the failure that tells most when nobody answered; `late`: no time for more."""
        seen = self._seen
        if seen is None:
            return _nobody_answered(list(self.failures.values()))
        reason = self._exit_reason(step, late)
        kept = self.plan.limits.none and reason in ("confident", "last_stage")
        return Decision(
            label_set=self.label_set,
            policy=self.plan.policy,
            controller=self.plan.controller,
            probabilities=probabilities(seen.logits[None], step.temperature)[0],
            cosine=self._cosine(),
            votes=tuple(self._vote(position) for position in self.answers),
            failed=tuple(self.plan.backbones[position].name for position in self.failures),
            exit_reason=reason,
            exit_score=step.exit_score,
            stages=step.stages,
            promise=self.plan.promise if kept else None,
            gflops_spared=self._spared(),
        )

    def _vote(self, position: int) -> Vote:
        answer = self.answers[position]
        backbone, weight = self.plan.backbones[position], float(self._weights[position])
        return Vote(backbone, weight, answer.cosine, _alone(answer.logits), answer.cached)

    def _cosine(self) -> Floats:
        weights = np.stack(list(self._weights.values()))
        return weighted_cosine(weights, np.stack([self.answers[position].cosine for position in self._weights]))

    def _spared(self) -> float:
        """What those would have cost that the request allowed to ask, and that were not asked."""
        everyone, members = range(len(self.plan.backbones)), self.plan.limits.members
        allowed = everyone if members is None else members
        return sum(self.plan.backbones[position].gflops for position in allowed if position not in self.asked)

    def _combine(self) -> None:
        # In the committee's order, as calibration combines them: another order would round otherwise.
        positions = sorted(self.answers)
        answers = [self.answers[position] for position in positions]
        names = [self.plan.backbones[position].name for position in positions]
        logits = np.stack([answer.logits[None] for answer in answers])
        combined = combine(self.plan.voice, names, [answer.embedding[None] for answer in answers], logits)
        self._weights = dict(zip(positions, combined.weights[:, 0], strict=True))
        tops = {position: int(answer.logits.argmax()) for position, answer in self.answers.items()}
        self._seen = Seen(combined.logits[0], tops)

    def _exit_reason(self, step: Step, late: bool) -> ExitReason:
        if any(not isinstance(failure, DeadlineExceededError) for failure in self.failures.values()):
            return "degraded"
        return "deadline" if late or self.failures else step.reason or "deadline"


def _alone(logits: Floats) -> NDArray[np.float64]:
    """What one backbone says by itself, `float64[c]`, its own temperature in `logits` `float32[c]`."""
    (row,) = probabilities(logits[None], 1.0)
    return np.asarray(row)


def _answer(backbone: Backbone, given: Embedded, matrix: Floats | QuorumError) -> _Answer | QuorumError:
    if isinstance(matrix, QuorumError):
        return matrix
    if isinstance(given.outcome, QuorumError):
        return given.outcome
    cosine = cosines(given.outcome, matrix)
    logits = backbone_logits(cosine, backbone.logit_scale, backbone.temperature)
    return _Answer(given.outcome, cosine, logits, given.cached)


def _nobody_answered(failures: Sequence[QuorumError]) -> QuorumError:
    """The failure that tells the caller most: no time, then a process that is going, then a failing backbone."""
    for kind in (DeadlineExceededError, UnavailableError, BackboneFailedError):
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    return failures[0]
