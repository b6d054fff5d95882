"""Every call of the API as a value: what to send, and what the answer is. Both clients send these."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import TypeAdapter, ValidationError

from service.api.embedding_schemas import EmbeddingsResponse
from service.api.model_schemas import BackboneOut, CommitteeOut, InfoOut, ModelList
from service.api.schemas import ClassifyResponse, FittedOut, Health, JobList, JobOut, LabelSetDetails, LabelSetList
from service.client.errors import UnexpectedResponseError, origin
from service.policies import Policy

T = TypeVar("T")
Kind = Literal["controller", "cascade"]
"""What can be fitted for a label set."""
File = tuple[str, tuple[str, bytes, str]]
"""A multipart file: name of the part, file name, bytes and their type."""

COMMITTEE: Final = "committee"
"""All backbones together, as a model."""
PAGE_SIZE: Final = 100
"""The largest page that the server gives."""

CLASSIFIED: Final = TypeAdapter(ClassifyResponse)
EMBEDDED: Final = TypeAdapter(EmbeddingsResponse)
LABEL_SET: Final = TypeAdapter(LabelSetDetails)
LABEL_SETS: Final = TypeAdapter(LabelSetList)
MODELS: Final = TypeAdapter(ModelList)
MODEL: Final[TypeAdapter[BackboneOut | CommitteeOut]] = TypeAdapter(BackboneOut | CommitteeOut)
INFO: Final = TypeAdapter(InfoOut)
FITTED: Final = TypeAdapter(FittedOut)
JOB: Final = TypeAdapter(JobOut)
JOBS: Final = TypeAdapter(JobList)
HEALTH: Final = TypeAdapter(Health)
NOTHING: Final[TypeAdapter[None]] = TypeAdapter(None)

PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]+')
"""Labels that name a multipart file as they are. Others are escaped on the way, and not in one way everywhere."""


class ClassifyOptions(TypedDict, total=False):
    """Fields of a classify request, exactly one of `labels` and `label_set`; the rest may be left to the server."""

    labels: Sequence[str] | None
    label_set: str | None
    templates: Sequence[str] | None
    policy: Policy | None
    backbones: Sequence[str] | None
    top_k: int | None
    deadline_ms: int | None
    max_gflops: float | None
    min_confidence: float | None
    explain: bool | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """`repeatable` calls may be sent twice: they change nothing on the server, or the second time nothing more.
    `answer_within_s` is what the call itself grants the server for its answer."""

    method: str
    path: str
    answer: TypeAdapter[T]
    repeatable: bool = True
    params: Mapping[str, str | int] | None = None
    json: str | None = None
    data: Mapping[str, str] | None = None
    files: Sequence[File] | None = None
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
    """Multipart, a third smaller than base64."""
    if not images:
        raise ValueError("no images: give at least one")
    fields = {name: value for name, value in options.items() if value is not None}
    deadline_ms = options.get("deadline_ms")
    return Call(
        "POST",
        "/v1/classify",
        CLASSIFIED,
        data={"request": as_json(fields)},
        files=[image_file("images", index, image) for index, image in enumerate(images)],
        answer_within_s=None if deadline_ms is None else deadline_ms / 1e3,
    )


def embed(inputs: Sequence[str | bytes], model: str, deadline_ms: int | None) -> Call[EmbeddingsResponse]:
    """Strings go as they are, bytes are images. Numbers come back in base64, a fifth of their size as text."""
    if not inputs:
        raise ValueError("no inputs: give at least one")
    fields = {
        "model": model,
        "input": [each if isinstance(each, str) else _data_uri(each) for each in inputs],
        "encoding_format": "base64",
    }
    if deadline_ms is None:
        return Call("POST", "/v1/embeddings", EMBEDDED, json=as_json(fields))
    timed = as_json(fields | {"deadline_ms": deadline_ms})
    return Call("POST", "/v1/embeddings", EMBEDDED, json=timed, answer_within_s=deadline_ms / 1e3)


def put_label_set(
    name: str, labels: Sequence[str] | Mapping[str, Sequence[str]], templates: Sequence[str] | None
) -> Call[LabelSetDetails]:
    body = {"labels": labels} | ({} if templates is None else {"templates": templates})
    return Call("PUT", _label_set_path(name), LABEL_SET, repeatable=False, json=as_json(body))


def get_label_set(name: str) -> Call[LabelSetDetails]:
    return Call("GET", _label_set_path(name), LABEL_SET)


def delete_label_set(name: str) -> Call[None]:
    return Call("DELETE", _label_set_path(name), NOTHING, repeatable=False)


def list_label_sets(page_size: int, after: str | None = None) -> Call[LabelSetList]:
    params: dict[str, str | int] = {"limit": page_size} | ({} if after is None else {"after": after})
    return Call("GET", "/v1/label-sets", LABEL_SETS, params=params)


def page_after(page: LabelSetList, page_size: int) -> Call[LabelSetList] | None:
    """The call for the page that follows `page`, or None after the last."""
    return list_label_sets(page_size, page.last_id) if page.has_more and page.last_id else None


def fit_controller(name: str, examples: Sequence[tuple[bytes, str]], seed: int = 0) -> Call[JobOut]:
    """`examples` are images with their labels."""
    if not examples:
        raise ValueError("no examples: give at least one")
    path = _fitted_path(name, "controller")
    if all(PLAIN.fullmatch(label) for _, label in examples):
        files = [image_file(f"examples[{label}]", index, image) for index, (image, label) in enumerate(examples)]
        return Call("POST", path, JOB, repeatable=False, data={"request": as_json({"seed": seed})}, files=files)
    items = [{"data": b64encode(image).decode(), "label": label} for image, label in examples]
    return Call("POST", path, JOB, repeatable=False, json=as_json({"examples": items, "seed": seed}))


def calibrate_cascade(
    name: str, images: Sequence[bytes], labels: Sequence[str] | None, epsilon: float | None, delta: float | None
) -> Call[JobOut]:
    if not images:
        raise ValueError("no images: give at least one")
    fields = {"labels": labels, "epsilon": epsilon, "delta": delta}
    return Call(
        "POST",
        _fitted_path(name, "cascade"),
        JOB,
        repeatable=False,
        data={"request": as_json({name: value for name, value in fields.items() if value is not None})},
        files=[image_file("images", index, image) for index, image in enumerate(images)],
    )


def fitted(name: str, kind: Kind) -> Call[FittedOut]:
    return Call("GET", _fitted_path(name, kind), FITTED)


def activate(name: str, kind: Kind, version: int) -> Call[FittedOut]:
    return Call("PUT", _fitted_path(name, kind), FITTED, repeatable=False, json=as_json({"version": version}))


def delete_fitted(name: str, kind: Kind) -> Call[None]:
    return Call("DELETE", _fitted_path(name, kind), NOTHING, repeatable=False)


def job(job_id: str) -> Call[JobOut]:
    return Call("GET", _job_path(job_id), JOB)


def cancel_job(job_id: str) -> Call[JobOut]:
    return Call("DELETE", _job_path(job_id), JOB, repeatable=False)


def list_jobs(page_size: int, label_set: str | None = None, after: str | None = None) -> Call[JobList]:
    wishes = {"label_set": label_set, "after": after}
    params: dict[str, str | int] = {"limit": page_size}
    return Call(
        "GET", "/v1/jobs", JOBS, params=params | {name: value for name, value in wishes.items() if value is not None}
    )


def jobs_after(page: JobList, page_size: int, label_set: str | None = None) -> Call[JobList] | None:
    """The call for the page that follows `page`, or None after the last."""
    return list_jobs(page_size, label_set, page.last_id) if page.has_more and page.last_id else None


def body_bytes(call: Call[Any]) -> int:
    """Size of the body that is sent. Boundaries are random, but all of the same length."""
    request = httpx2.Request(call.method, "http://quorum", content=call.json, data=call.data, files=call.files)
    return int(request.headers.get("Content-Length", 0))


def models() -> Call[ModelList]:
    return Call("GET", "/v1/models", MODELS)


def model(model_id: str) -> Call[BackboneOut | CommitteeOut]:
    return Call("GET", f"/v1/models/{segment(model_id)}", MODEL)


def info() -> Call[InfoOut]:
    return Call("GET", "/info", INFO)


def health() -> Call[Health]:
    return Call("GET", "/healthz", HEALTH)


def image_file(name: str, index: int, image: bytes) -> File:
    """Numbered, since files' names are nobody's business."""
    return name, (f"image-{index}", image, "application/octet-stream")


def _data_uri(image: bytes) -> str:
    """The server looks into the bytes to know what they are."""
    return f"data:application/octet-stream;base64,{b64encode(image).decode()}"


def as_json(body: object) -> str:
    return dumps(body, default=lambda part: dict(part) if isinstance(part, Mapping) else list(part))


def _label_set_path(name: str) -> str:
    return f"/v1/label-sets/{segment(name)}"


def _fitted_path(name: str, kind: Kind) -> str:
    return f"{_label_set_path(name)}/{kind}"


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{segment(job_id)}"


def segment(name: str) -> str:
    """One segment of a path: a name with a slash in it must not become another address."""
    if name in ("", ".", ".."):
        raise ValueError(f'"{name}" is not a name')
    return quote(name, safe="")
