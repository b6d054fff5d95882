"""What a server is made of, on the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from service.policies import Policy, QueryKind, Votes


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
    votes: Votes = Field(
        # The default is for the client: a gateway from before variants has none.
        default="by_default",
        description="by_default: a member of the committee; when_asked: only where a request names it.",
    )
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


class GenericSourceOut(BaseModel):
    """Images that the shipped controller was fitted on, and how a fit without them did there beside the plain mean:
    balanced accuracy, and mean negative log likelihood in nats at the best temperature."""

    name: str
    images: int
    classes: int
    accuracy: float
    mean_accuracy: float
    loss: float
    mean_loss: float


class GenericOut(BaseModel):
    """The generic controller that the model repository ships. It weighs the backbones for labels that have no
    controller of their own."""

    name: str
    applies: bool
    reason: str | None = Field(description="Why it does not apply.")
    accuracy_gain: float = Field(description="Over the plain mean, on sources that were left out of its fit.")
    loss_gain: float = Field(description="The same in nats; positive: it predicts better.")
    seed: int
    sources: list[GenericSourceOut]


class JudgedControllerOut(BaseModel):
    """On queries that it was fitted without: the share with the right item first among `candidates`, beside the mean of
    logits and the best backbone alone."""

    examples: int
    candidates: int
    accuracy: float
    mean_accuracy: float
    best: str
    best_accuracy: float


class RetrievalOut(BaseModel):
    """What the repository ships for galleries; `reason` says why it does not apply to the backbones that are served."""

    name: str
    applies: bool
    reason: str | None
    backbones: list[str]
    prefix: list[str]
    thresholds: dict[QueryKind, float]
    sources: list[str]
    controllers: dict[QueryKind, JudgedControllerOut]


class InfoOut(BaseModel):
    name: Literal["quorum"] = "quorum"
    versions: dict[str, str]
    engine: str
    zoo_digest: str
    backbones: dict[str, ModelDigests]
    policies: list[str]
    default_policy: Policy = Field(description="For labels that nothing was fitted for.")
    generic_controller: GenericOut | None = Field(None, description="Null where none is shipped.")
    retrieval_controllers: RetrievalOut | None = Field(None, description="Null where none are shipped.")
    limits: dict[str, int]
    problems: list[str]
