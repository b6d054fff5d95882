"""Requests and responses on the wire. Limits that are settings are checked where the settings are known."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from service.policies import ExitReason, Policy

FailFast = Field(fail_fast=True)
"""pydantic collects every error before it raises. A body of 4 MB holds two million wrong items, whose errors take
24 s and 2 GB; callers are told of the first one anyway."""
UNKNOWN_FIELD: Final = "unknown_field"
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
    policy: Policy | None = Field(None, description="How votes are combined; the default is `mean`.")
    backbones: Annotated[Strings, Field(min_length=1)] | None = Field(
        None, description="Ask these alone; exactly one with policy `single`."
    )
    top_k: int = Field(5, ge=1, description="How many labels to answer with, best first.")
    deadline_ms: int | None = Field(None, ge=1, description="Answer within this time with what is known by then.")
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
    exit_score: float = Field(description="What a cascade's thresholds would be compared with.")
    policy: Policy
    controller: None = None
    exit_reason: ExitReason
    promise: None = None
    stages: int
    backbones: dict[str, VoteOut] | None
    gflops: float = Field(description="Work done for this image; cached embeddings cost nothing.")
    gflops_full: float = Field(description="Cost of asking every backbone of the zoo.")
    degraded: bool = Field(description="A backbone failed, and the others answered.")


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
    controller: None = None
    cascade: None = None
    created_at: datetime
    updated_at: datetime


class LabelSetList(BaseModel):
    object: Literal["list"] = "list"
    data: list[LabelSetOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


class ModelDigests(BaseModel):
    image: str
    text: str


class BackboneOut(BaseModel):
    id: str
    object: Literal["model"] = "model"
    family: str
    embedding_dim: int
    gflops: float
    image_size: int
    logit_scale: float
    temperature: float
    digests: ModelDigests
    provenance: str


class CommitteeOut(BaseModel):
    id: Literal["committee"] = "committee"
    object: Literal["model"] = "model"
    backbones: list[str]
    embedding_dim: int
    gflops: float
    digest: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[BackboneOut | CommitteeOut]


class InfoOut(BaseModel):
    name: Literal["quorum"] = "quorum"
    versions: dict[str, str]
    engine: str
    zoo_digest: str
    backbones: dict[str, ModelDigests]
    policies: list[str]
    default_policy: Policy
    limits: dict[str, int]
    problems: list[str]


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
