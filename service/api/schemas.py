"""Requests and responses on the wire. Limits that are settings are checked where the settings are known."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from service.policies import ArtefactKind, ExitReason, JobState, Policy

FailFast = Field(fail_fast=True)
"""pydantic collects every error before it raises. A body of 4 MB holds two million wrong items, whose errors take
24 s and 2 GB; callers are told of the first one anyway."""
UNKNOWN_FIELD: Final = "unknown_field"


def at_most(count: int) -> BeforeValidator:
    """Refuses a list or object of more entries before a single one is looked at: making models of a million of them
    takes seconds. The limits that are settings lie below."""

    def check(value: object) -> object:
        if isinstance(value, list | dict) and len(value) > count:
            raise PydanticCustomError("too_long", "has more than {count} entries", {"count": count})
        return value

    return BeforeValidator(check)


Strings = Annotated[list[str], FailFast]


class ErrorBody(BaseModel):
    """`code` is stable and for programs, `message` is for people, `param` names the field to mend."""

    message: str
    type: str
    param: str | None
    code: str
    request_id: str


class ErrorEnvelope(BaseModel):
    error: ErrorBody


class Request(BaseModel):
    """A misspelt field is an error, not a silently ignored wish."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _first_unknown_field(cls, values: object) -> object:
        """Stops at one, as `FailFast` does for lists."""
        for name in values if isinstance(values, dict) else ():
            if name not in cls.model_fields:
                raise PydanticCustomError(UNKNOWN_FIELD, "there is no such field", {"field": name})
        return values


class ImageInput(Request):
    data: str = Field(description="The file's bytes in base64, or a data URI.")


class ClassifyFields(Request):
    """Everything of a classify request but its images."""

    labels: Strings | None = Field(None, description="Classes by name. Exactly one of `labels` and `label_set`.")
    label_set: str | None = Field(None, description="Name of a registered label set.")
    templates: Strings | None = Field(None, description="Prompts with {} for the label; with `labels` only.")
    policy: Policy | None = Field(
        None,
        description="Default: `cascade` where one is calibrated, else `nlc` where a controller is fitted or a generic "
        "one is shipped, else `mean`.",
    )
    backbones: Annotated[Strings, Field(min_length=1)] | None = Field(
        None, description="Ask these alone; exactly one with policy `single`."
    )
    top_k: int = Field(5, ge=1, description="How many labels to answer with, best first.")
    deadline_ms: int | None = Field(None, ge=1, description="Answer within this time with what is known by then.")
    max_gflops: float | None = Field(None, gt=0, description="Ask nobody whose cost would go beyond this, per image.")
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="With `cascade`: nobody leaves early with less. It can only raise thresholds."
    )
    explain: bool = Field(True, description="Say what each backbone voted.")

    @field_validator("backbones")
    @classmethod
    def _distinct(cls, names: list[str] | None) -> list[str] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("names a backbone twice")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.labels is None) == (self.label_set is None):
            raise ValueError("send exactly one of labels and label_set")
        if self.label_set is not None and self.templates is not None:
            raise ValueError("templates go with labels; a label set has its own")
        if self.policy == "single" and len(self.backbones or ()) != 1:
            raise ValueError("policy single needs exactly one name in backbones")
        return self


class ClassifyRequest(ClassifyFields):
    images: Annotated[list[ImageInput], FailFast] = Field(min_length=1)


class ExampleIn(Request):
    data: str = Field(description="The file's bytes in base64, or a data URI.")
    label: str = Field(description="One of the label set's labels.")


class ControllerFields(Request):
    seed: int = Field(0, ge=0, lt=1 << 32, description="The same examples and seed give the same controller.")


class ControllerRequest(ControllerFields):
    examples: Annotated[list[ExampleIn], FailFast] = Field(min_length=1, description="One per class is enough.")


class CascadeFields(Request):
    labels: Strings | None = Field(
        None, description="The true label of each image, where known: bounds the loss of accuracy as well."
    )
    epsilon: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="The largest share of inputs answered otherwise than by everybody.",
    )
    delta: float = Field(0.1, gt=0, lt=1, description="The promise may fail with this probability.")


class CascadeRequest(CascadeFields):
    images: Annotated[list[ImageInput], FailFast] = Field(min_length=1, description="As they will come, unlabelled.")


class VersionIn(Request):
    version: int = Field(ge=1, description="A version that is still kept.")


class PromiseOut(BaseModel):
    """With probability >= 1 - delta over the calibration, the full committee's top label is another one on at most a
    share epsilon of inputs."""

    epsilon: float
    delta: float


class ActiveOut(BaseModel):
    """What was fitted or calibrated last, or gone back to."""

    version: int
    applies: bool
    reason: str | None = Field(description="Why it does not apply.")


class ActiveCascadeOut(ActiveOut):
    promise: PromiseOut | None = Field(description="What it promises where it applies.")


class VersionOut(BaseModel):
    version: int
    created_at: datetime
    active: bool
    applies: bool
    reason: str | None = Field(description="Why it does not apply.")
    about: dict[str, Any] = Field(description="What was measured when it was made.")


class ShadowOut(BaseModel):
    """A sample of the images that the active cascade was asked about, answered by the full committee as well: by this
    process, since it started."""

    checked: int
    disagreements: int
    observed: float = Field(description="Share of the checked images that disagree.")
    lower_bound: float = Field(
        description="One-sided Clopper-Pearson bound of that share, worked out at growing counts; all of them together "
        "hold with probability 0.99."
    )
    epsilon: float
    alert: bool = Field(description="The lower bound exceeds epsilon: calibrate anew, on images like those that come.")


class FittedOut(BaseModel):
    label_set: str
    kind: ArtefactKind
    active: int | None = Field(description="The version that requests get, unless it does not apply.")
    versions: list[VersionOut] = Field(description="Every version that is kept, newest first.")
    shadow: ShadowOut | None = Field(description="Of a cascade that applies; null for others.")


class PredictionOut(BaseModel):
    label: str
    probability: float
    cosine: float


class VoteOut(BaseModel):
    weight: float = Field(description="How much this backbone's logits counted.")
    top_label: str
    probability: float = Field(description="Its own probability of its own top label.")
    cached: bool


class ResultOut(BaseModel):
    index: int
    predictions: list[PredictionOut]
    confidence: float = Field(description="The largest probability.")
    exit_score: float = Field(description="What a cascade's thresholds are compared with.")
    policy: Policy = Field(description="What was applied: `nlc` without a controller becomes `mean`.")
    controller: str | None = Field(
        description="Whose weights these are: `label set/version`, or `generic@digest` for the one that is shipped "
        "with the models; null: equal weights."
    )
    exit_reason: ExitReason
    promise: PromiseOut | None = Field(description="Null wherever an override, a failure or the deadline voids it.")
    stages: int = Field(description="Rounds of asking.")
    backbones: dict[str, VoteOut] | None
    gflops: float = Field(description="Work done for this image; cached embeddings cost nothing.")
    gflops_full: float = Field(description="Cost of asking the whole committee.")
    degraded: bool = Field(description="A backbone failed, and the others answered.")
    failed: list[str] = Field(description="Backbones that were asked and did not answer.")


class ItemError(BaseModel):
    index: int
    error: ErrorBody


class UsageOut(BaseModel):
    images: int
    backbone_calls: dict[str, int]
    gflops: float
    gflops_full: float


class ClassifyResponse(BaseModel):
    id: str
    model: Literal["committee"] | str
    label_set: str | None
    results: list[ResultOut | ItemError]
    usage: UsageOut


class LabelSetIn(Request):
    labels: Strings | Annotated[dict[str, Strings], FailFast] = Field(
        description="Classes, or classes with several phrasings each."
    )
    templates: Strings | None = None


class LabelSetBackbone(BaseModel):
    digest: str = Field(description="Of the text tower that encodes the labels.")
    encoded: bool


class LabelSetOut(BaseModel):
    name: str
    labels: list[str] | dict[str, list[str]]
    templates: list[str]
    digest: str
    backbones: dict[str, LabelSetBackbone]
    created_at: datetime
    updated_at: datetime


class LabelSetDetails(LabelSetOut):
    controller: ActiveOut | None = Field(description="Null where none was fitted.")
    cascade: ActiveCascadeOut | None = Field(description="Null where none was calibrated.")


class LabelSetList(BaseModel):
    object: Literal["list"] = "list"
    data: list[LabelSetOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


class JobOut(BaseModel):
    id: str
    object: Literal["job"] = "job"
    kind: ArtefactKind = Field(description="What it makes.")
    label_set: str
    state: JobState
    progress: float = Field(ge=0, le=1)
    result: dict[str, Any] | None = Field(description="Of a job that succeeded; with a `version` if it activated one.")
    error: ErrorBody | None = Field(
        description="Why it failed or was cancelled; `request_id` is of the call that began it."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobList(BaseModel):
    object: Literal["list"] = "list"
    data: list[JobOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


class HuggingFaceParameters(Request):
    candidate_labels: Strings | str = Field(description="Labels, or one string with commas between them.")
    hypothesis_template: str = "This is a photo of {}."

    def labels(self) -> list[str]:
        given = self.candidate_labels
        return [part.strip() for part in given.split(",")] if isinstance(given, str) else given


class HuggingFaceRequest(Request):
    inputs: str = Field(description="The image in base64, or a data URI.")
    parameters: HuggingFaceParameters


class HuggingFaceScore(BaseModel):
    label: str
    score: float


class Health(BaseModel):
    status: Literal["ok"] = "ok"
