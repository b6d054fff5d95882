"""What finished jobs have to say, typed: `FitResult.of(job)` and `CalibrationResult.of(job)`.

The same stands under `about` in the versions of a controller or a cascade. Accuracies, gaps and shares are shares of 1,
losses mean negative log likelihoods in nats, GFLOPs those of one image.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, ValidationError

from service.api.schemas import JobOut, VersionOut
from service.client.errors import UnexpectedResponseError


class Result(BaseModel):
    @classmethod
    def of(cls, source: JobOut | VersionOut) -> Self:
        """Raises `UnexpectedResponseError` for a job without a result, or a result of another kind."""
        found = source.result if isinstance(source, JobOut) else source.about
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise UnexpectedResponseError(
                "This is not a result that this version of the client understands. Is the server of a similar version?"
            ) from error


class Skipped(BaseModel):
    """An image that could not be read; `index` is its place among those that were sent."""

    index: int
    message: str
    code: str


class HeldOut(BaseModel):
    accuracy: float
    loss: float


class Gain(BaseModel):
    """Accuracy of the fit minus that of something else on the same images; the error is the paired one."""

    accuracy: float
    standard_error: float


class ExamplesSummary(BaseModel):
    """`shots`: the fewest and most examples of a class that has any."""

    examples: int
    classes: int
    classes_with_examples: int
    shots: tuple[int, int]
    seed: int


class FitResult(Result):
    """`held_out` is None where nothing was fitted; `reasons` say why a fit was refused; `version` was activated."""

    rung: Literal["mean", "generic", "static", "nlc"]
    accepted: bool
    reasons: list[str]
    strength: float | None
    about: ExamplesSummary
    held_out: HeldOut | None
    unfitted: dict[str, HeldOut]
    backbones: dict[str, HeldOut]
    gain_over_unfitted: dict[str, Gain]
    gain_over_backbones: dict[str, Gain]
    skipped: list[Skipped] = Field(default_factory=list)
    version: int | None = None


class FixedBackbone(BaseModel):
    """The best single backbone: most accurate by `labels`, or most often in `agreement` with the full committee."""

    backbone: str
    gflops: float
    by: Literal["given", "labels", "agreement"]


class Chosen(BaseModel):
    images: int
    temperatures_by: Literal["labels", "committee"]
    exit_score: Literal["probability", "margin"]
    exit_score_reason: str
    routing: Literal["order", "router"]
    routing_reason: str
    best_fixed: FixedBackbone


class AccuracyGap(BaseModel):
    """`bound` holds with probability >= 1 - delta; None where none up to epsilon could be shown."""

    accuracy: float
    accuracy_full: float
    observed: float
    bound: float | None


class Tested(BaseModel):
    """`step` is None where even nobody's leaving could not be promised with so few images."""

    images: int
    step: int | None
    disagreements: int
    disagreements_allowed: int
    p_value: float
    gflops: float
    exit_shares: list[float]
    accuracy_gap: AccuracyGap | None


class Stage(BaseModel):
    """`backbones` are asked together; none are named where a router picks for each image. Who scores `threshold` leaves
    (None: nobody, and at the last stage everybody). A router has temperatures of its own."""

    backbones: list[str]
    threshold: float | None
    temperature: float | None


class CalibrationResult(Result):
    """`message` says why nobody leaves early, where that is so. `controller` spoke (None: the plain mean); only a job
    says which. `tested.exit_shares` has the share that leaves after each of `stages`."""

    epsilon: float
    delta: float
    images_needed: int
    dropped_duplicates: int
    dropped_fitted: int
    gflops_full: float
    chosen: Chosen | None
    tested: Tested
    message: str | None
    stages: list[Stage]
    controller: str | None = None
    skipped: list[Skipped] = Field(default_factory=list)
    version: int | None = None
