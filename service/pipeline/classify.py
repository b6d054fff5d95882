"""One classify request from bytes to decisions: the only file that knows the order of the stages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.deadline import Deadline
from service.errors import BackboneFailedError, DeadlineExceededError, QuorumError, UnavailableError
from service.pipeline.embed import Embedded, Embedder, Image
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.labels import LabelSet
from service.pipeline.logits import backbone_logits, committee_probabilities, cosines, softmax, weighted_cosine
from service.policies import ExitReason, Policy
from service.repository import Backbone
from service.timings import Timings

Floats = NDArray[np.float32]
EQUAL_WEIGHT: Final = 1.0


@dataclass(frozen=True, slots=True)
class ClassifyQuery:
    """`images` may hold errors already: items whose bytes could not even be read from the request."""

    images: tuple[Image | QuorumError, ...]
    label_set: LabelSet
    policy: Policy
    backbones: tuple[Backbone, ...]
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Prediction:
    label: str
    probability: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Vote:
    """What one backbone says about one image: `cosine` and `probabilities` are `float32[c]`."""

    backbone: Backbone
    weight: float
    cosine: Floats
    probabilities: Floats
    cached: bool

    def top(self, label_set: LabelSet) -> Prediction:
        """What this backbone alone would have answered."""
        index = int(self.probabilities.argmax())
        return Prediction(label_set.labels[index], float(self.probabilities[index]), float(self.cosine[index]))


@dataclass(frozen=True, slots=True)
class Decision:
    """The committee's answer for one image; `probabilities` and `cosine` are `float32[c]` in the label set's order."""

    label_set: LabelSet
    policy: Policy
    probabilities: Floats
    cosine: Floats
    votes: tuple[Vote, ...]
    exit_reason: ExitReason

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


class Classifier:
    def __init__(self, embedder: Embedder, matrices: LabelMatrices) -> None:
        self._embedder = embedder
        self._matrices = matrices

    async def classify(self, query: ClassifyQuery, timings: Timings) -> list[Decision | QuorumError]:
        """One decision or error per image, in order, by the query's deadline."""
        images = [image for image in query.images if isinstance(image, Image)]
        if not images:  # no reason to encode labels first
            return [image for image in query.images if isinstance(image, QuorumError)]
        embedded, matrices = await asyncio.gather(
            self._embedder.embed_images(images, query.backbones, query.deadline, timings),
            self._label_matrices(query, timings),
        )
        with timings.measure("decide"):
            answers = iter(embedded)
            return [
                image if isinstance(image, QuorumError) else decide(query, matrices, next(answers))
                for image in query.images
            ]

    async def _label_matrices(self, query: ClassifyQuery, timings: Timings) -> dict[str, Floats | QuorumError]:
        with timings.measure("labels"):
            return await self._matrices.of(query.label_set, query.backbones, query.deadline)


def decide(
    query: ClassifyQuery,
    matrices: Mapping[str, Floats | QuorumError],
    embedded: Mapping[str, Embedded] | QuorumError,
) -> Decision | QuorumError:
    """One image's decision from what its backbones gave; an error only when none of them can speak.

    `matrices` are class embeddings `float32[c, d]` by backbone name.
    """
    if isinstance(embedded, QuorumError):
        return embedded
    votes: list[Vote] = []
    failures: list[QuorumError] = []
    for backbone in query.backbones:
        vote = _vote(backbone, matrices[backbone.name], embedded[backbone.name])
        if isinstance(vote, QuorumError):
            failures.append(vote)
        else:
            votes.append(vote)
    if not votes:
        return _nobody_answered(failures)
    probabilities, cosine = _combine(query.policy, votes)
    return Decision(query.label_set, query.policy, probabilities, cosine, tuple(votes), _exit_reason(failures))


def _vote(backbone: Backbone, matrix: Floats | QuorumError, embedded: Embedded) -> Vote | QuorumError:
    if isinstance(matrix, QuorumError):
        return matrix
    if isinstance(embedded.outcome, QuorumError):
        return embedded.outcome
    cosine = cosines(embedded.outcome, matrix)
    probabilities = softmax(backbone_logits(cosine, backbone.logit_scale, backbone.temperature))
    return Vote(backbone, EQUAL_WEIGHT, cosine, probabilities, embedded.cached)


def _combine(policy: Policy, votes: Sequence[Vote]) -> tuple[Floats, Floats]:
    """Probabilities and committee cosine, `float32[c]` each."""
    cosine = np.stack([vote.cosine for vote in votes])
    weights = np.array([vote.weight for vote in votes], dtype=np.float32)
    if policy == "single":
        return votes[0].probabilities, votes[0].cosine
    logits = np.stack(
        [backbone_logits(vote.cosine, vote.backbone.logit_scale, vote.backbone.temperature) for vote in votes]
    )
    return committee_probabilities(policy, logits), weighted_cosine(weights, cosine)


def _exit_reason(failures: Sequence[QuorumError]) -> ExitReason:
    if any(not isinstance(failure, DeadlineExceededError) for failure in failures):
        return "degraded"
    return "deadline" if failures else "last_stage"


def _nobody_answered(failures: Sequence[QuorumError]) -> QuorumError:
    """The failure that tells the caller most: no time, then a process that is going, then a failing backbone."""
    for kind in (DeadlineExceededError, UnavailableError, BackboneFailedError):
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    return failures[0]
