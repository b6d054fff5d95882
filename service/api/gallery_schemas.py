"""Galleries on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from service.api.schemas import ErrorBody, FailFast, ImageInput, Request, Strings, at_most
from service.policies import FieldType, GalleryState, ItemChange, Metric, Modality, SearchExit, SearchPolicy

MAX_QUERIES = 1_000
MAX_ITEMS = 10_000
"""What the settings can at most be set to."""

FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Value = StrictBool | StrictInt | StrictFloat | StrictStr | None
Fields = Annotated[dict[str, Value], at_most(1_000)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Numbers = Annotated[list[Number], FailFast]
ItemId = Annotated[str, Field(min_length=1, max_length=512, description="At most 512 bytes of UTF-8.")]

Filter = Annotated[
    dict[str, object],
    at_most(1_000),
    Field(
        description="Conditions that must all hold, by field: a value, a list of which one must match, or an object of "
        "`gt`, `gte`, `lt`, `lte`, `not`, `in`. null matches items without a value.",
        examples=[{"year": {"gte": 2020}, "source": ["web", "upload"], "reviewed": True}],
    ),
]


class GalleryIn(Request):
    """What a gallery is. None of it can be changed later."""

    backbones: Annotated[Strings, Field(min_length=1)] | None = Field(
        None, description="Whose embeddings it keeps. Default: the whole zoo."
    )
    prefix: Annotated[Strings, Field(min_length=1)] | None = Field(
        None,
        description="Who searches first under `cascade`. Default: the one that the repository ships, else the "
        "cheapest half by cost.",
    )
    metric: Metric = Field(
        "cosine", description="`cosine` makes ready embeddings unit-length, `ip` leaves their lengths alone."
    )
    fields: Annotated[dict[FieldName, FieldType], at_most(1_000)] = Field(
        default_factory=dict, description="Typed values that items may carry and filters may name."
    )


class GalleryMemberOut(BaseModel):
    """`image` and `text` are the digests of the towers that the embeddings were made with."""

    name: str
    width: int
    image: str
    text: str


class IndexOut(BaseModel):
    """`exact` says that every item is compared."""

    type: str
    params: dict[str, int]
    exact: bool


class GalleryOut(BaseModel):
    name: str
    backbones: list[GalleryMemberOut]
    prefix: list[str]
    metric: Metric
    fields: dict[str, FieldType]
    stale: str | None = Field(description="Why it cannot be searched or added to with the towers of today.")
    created_at: datetime


class GalleryDetails(GalleryOut):
    items: int = Field(description="Counted once the state is `ready`; 0 before.")
    state: GalleryState
    index: IndexOut


class GalleryList(BaseModel):
    object: Literal["list"] = "list"
    data: list[GalleryOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


class ItemIn(Request):
    """Exactly one of `image`, `text` and `embedding`."""

    id: ItemId
    image: ImageInput | None = None
    text: str | None = None
    embedding: Numbers | str | None = Field(
        None,
        description="The backbones' embeddings side by side, as `model: committee` of /v1/embeddings gives them: "
        "numbers, or base64 of little-endian float32.",
    )
    modality: Modality = Field("unknown", description="With `embedding`: what it is of.")
    fields: Fields = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if sum(each is not None for each in (self.image, self.text, self.embedding)) != 1:
            raise ValueError("send exactly one of image, text and embedding")
        if self.modality != "unknown" and self.embedding is None:
            raise ValueError("modality goes with embedding; of the others it is known")
        return self


class ItemsRequest(Request):
    items: Annotated[list[ItemIn], FailFast, at_most(MAX_ITEMS)] = Field(min_length=1)
    deadline_ms: int | None = Field(None, ge=1)


class ItemsFields(Request):
    """The JSON part of a multipart call, whose files are named `images[ID]`."""

    fields: Annotated[dict[str, Fields], at_most(MAX_ITEMS)] = Field(
        default_factory=dict, description="By the item's id."
    )
    deadline_ms: int | None = Field(None, ge=1)


class ItemResult(BaseModel):
    index: int
    id: str
    status: ItemChange


class ItemFailure(BaseModel):
    index: int
    id: str
    error: ErrorBody


class ItemsUsage(BaseModel):
    items: int
    backbone_calls: dict[str, int]
    gflops: float


class ItemsResponse(BaseModel):
    gallery: str
    results: list[ItemResult | ItemFailure]
    usage: ItemsUsage


class ItemOut(BaseModel):
    """`digest` is the sha256 of what the item was made from: the image's bytes, the text in UTF-8, the embedding's
    little-endian float32."""

    id: str
    modality: Modality
    digest: str
    fields: Fields


class ItemList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ItemOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


class IdsRequest(Request):
    ids: Annotated[list[ItemId], FailFast, at_most(MAX_ITEMS)] = Field(min_length=1)


class ItemsFound(BaseModel):
    data: list[ItemOut]
    missing: list[str]


class DeleteItemsRequest(Request):
    """Exactly one of the two."""

    ids: Annotated[list[ItemId], FailFast, at_most(MAX_ITEMS)] | None = Field(None, min_length=1)
    filter: Filter | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("send exactly one of ids and filter")
        return self


class FilterOnly(Request):
    filter: Filter


class ItemsDeleted(BaseModel):
    deleted: int


class PartIn(Request):
    """Exactly one of `text`, `image`, `id` and `embedding`."""

    text: str | None = None
    image: str | None = Field(None, description="The file's bytes in base64, or a data URI.")
    id: ItemId | None = Field(None, description="An item of this gallery; it is not among its own hits.")
    embedding: Numbers | str | None = Field(None, description="As for an item; with `modality`, its controller weighs.")
    modality: Modality = "unknown"

    def contents(self) -> int:
        return sum(each is not None for each in (self.text, self.image, self.id, self.embedding))


class MixPartIn(PartIn):
    weight: float = Field(1.0, ge=-1000, le=1000, description="Negative: away from this.")

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if self.contents() != 1:
            raise ValueError("send exactly one of text, image, id and embedding")
        if self.weight == 0:
            raise ValueError("a part of weight 0 is no part; leave it out")
        return self


class QueryIn(PartIn):
    mix: Annotated[list[MixPartIn], FailFast, at_most(16)] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if self.contents() + (self.mix is not None) != 1:
            raise ValueError("send exactly one of text, image, id, embedding and mix")
        return self


class SearchRequest(Request):
    queries: Annotated[list[QueryIn], FailFast, at_most(MAX_QUERIES)] = Field(min_length=1)
    top_k: int = Field(10, ge=1)
    filter: Filter | None = None
    policy: SearchPolicy | None = Field(
        None, description="Default: `nlc` where the repository ships controllers for these backbones, else `mean`."
    )
    backbones: Annotated[Strings, Field(min_length=1)] | None = Field(
        None, description="Ask these alone; exactly one with policy `single`."
    )
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="With `cascade`: the threshold, in place of the shipped one."
    )
    explain: bool = Field(False, description="Also each backbone's weight, and its score for each hit.")
    deadline_ms: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.policy == "single" and len(self.backbones or ()) != 1:
            raise ValueError("policy single needs exactly one name in backbones")
        if self.policy == "cascade" and self.backbones is not None:
            raise ValueError("cascade asks the gallery's prefix and then everybody; leave backbones out")
        if self.min_confidence is not None and self.policy != "cascade":
            raise ValueError("min_confidence goes with policy cascade")
        return self


class HitOut(BaseModel):
    """`score` is the weighted mean of the backbones' cosines, `scores` (explained) are these; a mix has those of its
    parts, mixed."""

    id: str
    score: float
    fields: Fields
    scores: dict[str, float] | None = None


class SearchResult(BaseModel):
    """`confidence` is the softmax probability of the best hit among the best ones, by everybody who was asked.

    `weights` (explained) are each backbone's share of the score; for a mix those of its parts are summed.
    """

    index: int
    hits: list[HitOut]
    policy: SearchPolicy
    controller: str | None
    confidence: float | None
    exit_reason: SearchExit
    stages: int
    backbones: list[str] = Field(description="Whose scores the ranking is made of.")
    weights: dict[str, float] | None = None
    gflops: float
    gflops_full: float
    degraded: bool
    failed: list[str]


class SearchFailure(BaseModel):
    index: int
    error: ErrorBody


class SearchUsage(BaseModel):
    queries: int
    backbone_calls: dict[str, int]
    gflops: float
    gflops_full: float


class SearchResponse(BaseModel):
    gallery: str
    results: list[SearchResult | SearchFailure]
    usage: SearchUsage
