"""Every call of the API as a value: what to send, and what the answer is. Both clients send these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import dumps
from typing import Final, Generic, TypedDict, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import TypeAdapter, ValidationError

from service.api.schemas import (
    BackboneOut,
    ClassifyResponse,
    CommitteeOut,
    Health,
    InfoOut,
    LabelSetList,
    LabelSetOut,
    ModelList,
)
from service.client.errors import UnexpectedResponseError, origin
from service.policies import Policy

T = TypeVar("T")

PAGE_SIZE: Final = 100
"""The largest page that the server gives."""

CLASSIFIED: Final = TypeAdapter(ClassifyResponse)
LABEL_SET: Final = TypeAdapter(LabelSetOut)
LABEL_SETS: Final = TypeAdapter(LabelSetList)
MODELS: Final = TypeAdapter(ModelList)
MODEL: Final[TypeAdapter[BackboneOut | CommitteeOut]] = TypeAdapter(BackboneOut | CommitteeOut)
INFO: Final = TypeAdapter(InfoOut)
HEALTH: Final = TypeAdapter(Health)
NOTHING: Final[TypeAdapter[None]] = TypeAdapter(None)


class ClassifyOptions(TypedDict, total=False):
    """Fields of a classify request, exactly one of `labels` and `label_set`; the rest may be left to the server."""

    labels: Sequence[str] | None
    label_set: str | None
    templates: Sequence[str] | None
    policy: Policy | None
    backbones: Sequence[str] | None
    top_k: int | None
    deadline_ms: int | None
    explain: bool | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """`reads_only` calls change nothing on the server, so they may be sent twice. `answer_within_s` is what the call
    itself grants the server for its answer."""

    method: str
    path: str
    answer: TypeAdapter[T]
    reads_only: bool = True
    params: Mapping[str, str | int] | None = None
    json: str | None = None
    data: Mapping[str, str] | None = None
    files: Sequence[tuple[str, tuple[str, bytes, str]]] | None = None
    answer_within_s: float | None = None

    def parse(self, response: httpx2.Response) -> T:
        """Raises `UnexpectedResponseError` for a success that is not this call's."""
        try:
            return self.answer.validate_json(response.content or b"null")
        except ValidationError as error:
            raise UnexpectedResponseError(
                f"{origin(response.url)} answered {self.method} {self.path} with something that this version of the "
                "client does not understand. Is it a Quorum server, and of a similar version?"
            ) from error


def classify(images: Sequence[bytes], options: ClassifyOptions) -> Call[ClassifyResponse]:
    """Multipart, a third smaller than base64. Files are numbered, since their names are nobody's business."""
    if not images:
        raise ValueError("no images: give at least one")
    fields = {name: value for name, value in options.items() if value is not None}
    deadline_ms = options.get("deadline_ms")
    return Call(
        "POST",
        "/v1/classify",
        CLASSIFIED,
        data={"request": _json(fields)},
        files=[("images", (f"image-{index}", image, "application/octet-stream")) for index, image in enumerate(images)],
        answer_within_s=None if deadline_ms is None else deadline_ms / 1e3,
    )


def put_label_set(
    name: str, labels: Sequence[str] | Mapping[str, Sequence[str]], templates: Sequence[str] | None
) -> Call[LabelSetOut]:
    body = {"labels": labels} | ({} if templates is None else {"templates": templates})
    return Call("PUT", _label_set_path(name), LABEL_SET, reads_only=False, json=_json(body))


def get_label_set(name: str) -> Call[LabelSetOut]:
    return Call("GET", _label_set_path(name), LABEL_SET)


def delete_label_set(name: str) -> Call[None]:
    return Call("DELETE", _label_set_path(name), NOTHING, reads_only=False)


def list_label_sets(page_size: int, after: str | None = None) -> Call[LabelSetList]:
    params: dict[str, str | int] = {"limit": page_size} | ({} if after is None else {"after": after})
    return Call("GET", "/v1/label-sets", LABEL_SETS, params=params)


def page_after(page: LabelSetList, page_size: int) -> Call[LabelSetList] | None:
    """The call for the page that follows `page`, or None after the last."""
    return list_label_sets(page_size, page.last_id) if page.has_more and page.last_id else None


def models() -> Call[ModelList]:
    return Call("GET", "/v1/models", MODELS)


def model(model_id: str) -> Call[BackboneOut | CommitteeOut]:
    return Call("GET", f"/v1/models/{_segment(model_id)}", MODEL)


def info() -> Call[InfoOut]:
    return Call("GET", "/info", INFO)


def health() -> Call[Health]:
    return Call("GET", "/healthz", HEALTH)


def _json(body: object) -> str:
    return dumps(body, default=lambda part: dict(part) if isinstance(part, Mapping) else list(part))


def _label_set_path(name: str) -> str:
    return f"/v1/label-sets/{_segment(name)}"


def _segment(name: str) -> str:
    """One segment of a path: a name with a slash in it must not become another address."""
    if name in ("", ".", ".."):
        raise ValueError(f'"{name}" is not a name')
    return quote(name, safe="")
