"""Bodies that teach: labelled examples for a controller, calibration images for a cascade."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from service.api.bodies import Item, image_from_text, parse_fields
from service.api.forms import Form, FormRules, TooManyFilesError, read_form
from service.api.schemas import CascadeFields, CascadeRequest, ControllerFields, ControllerRequest
from service.errors import InvalidExamplesError, InvalidRequestError, PayloadTooLargeError, UnsupportedMediaTypeError
from service.pipeline.embed import Image
from service.pipeline.labels import LabelSet
from service.settings import Settings

EXAMPLE_PART: Final = re.compile(r"examples\[(.+)\]", re.DOTALL)
IMAGES_PART: Final = "images"
ESCAPES: Final = {"%22": '"', "%0D": "\r", "%0A": "\n"}
"""What browsers and HTTP clients write in a part's name for characters that would end it (WHATWG, form data)."""


@dataclass(frozen=True, slots=True)
class ControllerCall:
    """`truth[i]` is the position of image `i`'s label in the label set."""

    images: tuple[Item, ...]
    truth: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class CascadeCall:
    """`truth` is None where no labels were sent."""

    images: tuple[Item, ...]
    truth: tuple[int, ...] | None
    epsilon: float
    delta: float


async def read_controller_call(request: Request, label_set: LabelSet, settings: Settings) -> ControllerCall:
    """JSON, or multipart files named `examples[LABEL]`. Raises a `RequestError` of the fitting kind."""
    if _content_type(request) == "multipart/form-data":
        form = await _form(request, '"examples[LABEL]"', _is_example, settings)
        return await asyncio.to_thread(_controller_from_form, form, label_set)
    return await asyncio.to_thread(_controller_from_json, await _json(request), label_set, settings)


async def read_cascade_call(request: Request, label_set: LabelSet, settings: Settings) -> CascadeCall:
    """JSON, or multipart files named `images`. Raises a `RequestError` of the fitting kind."""
    if _content_type(request) == "multipart/form-data":
        form = await _form(request, f'"{IMAGES_PART}"', IMAGES_PART.__eq__, settings)
        return await asyncio.to_thread(_cascade_from_form, form, label_set)
    return await asyncio.to_thread(_cascade_from_json, await _json(request), label_set, settings)


# In threads: base64 and digests of hundreds of megabytes take seconds, in which the event loop would serve nobody.


def _controller_from_form(form: Form, label_set: LabelSet) -> ControllerCall:
    fields = parse_fields(ControllerFields, form.fields)
    labels = frozenset(label_set.labels)
    truth = _truth([_label_of(name, labels) for name, _ in form.files], label_set, "examples")
    return ControllerCall(tuple(Image.of(data) for _, data in form.files), truth, fields.seed)


def _controller_from_json(body: bytes, label_set: LabelSet, settings: Settings) -> ControllerCall:
    call = parse_fields(ControllerRequest, body)
    _check_count(len(call.examples), settings, "examples")
    truth = _truth([each.label for each in call.examples], label_set, "examples")
    images = tuple(image_from_text(each.data, f"examples[{index}]") for index, each in enumerate(call.examples))
    return ControllerCall(images, truth, call.seed)


def _cascade_from_form(form: Form, label_set: LabelSet) -> CascadeCall:
    fields = parse_fields(CascadeFields, form.fields)
    return _cascade_call(tuple(Image.of(data) for _, data in form.files), fields, label_set)


def _cascade_from_json(body: bytes, label_set: LabelSet, settings: Settings) -> CascadeCall:
    call = parse_fields(CascadeRequest, body)
    _check_count(len(call.images), settings, "images")
    images = tuple(image_from_text(each.data, f"images[{index}]") for index, each in enumerate(call.images))
    return _cascade_call(images, call, label_set)


def _cascade_call(images: tuple[Item, ...], fields: CascadeFields, label_set: LabelSet) -> CascadeCall:
    if fields.labels is None:
        return CascadeCall(images, None, fields.epsilon, fields.delta)
    if len(fields.labels) != len(images):
        raise InvalidExamplesError(
            f"{len(fields.labels)} labels for {len(images)} images. Send one label for each, or none at all.",
            param="labels",
        )
    return CascadeCall(images, _truth(fields.labels, label_set, "labels"), fields.epsilon, fields.delta)


def _is_example(name: str) -> bool:
    return EXAMPLE_PART.fullmatch(name) is not None


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _json(request: Request) -> bytes:
    content_type = _content_type(request)
    if content_type != "application/json":
        raise UnsupportedMediaTypeError(
            f'Content-Type "{content_type}" is not read here. Send application/json or multipart/form-data.'
        )
    return await request.body()


async def _form(request: Request, files: str, is_file: Callable[[str], bool], settings: Settings) -> Form:
    rules = FormRules(files, is_file, max_files=settings.max_job_images + 1, max_bytes=settings.max_job_body_bytes)
    try:
        form = await read_form(request, rules)
    except TooManyFilesError:
        raise _too_many(settings, "images") from None
    _check_count(len(form.files), settings, "images")
    return form


def _label_of(name: str, labels: Collection[str]) -> str:
    match = EXAMPLE_PART.fullmatch(name)
    if match is None:
        raise InvalidRequestError(f'Files are named "examples[LABEL]", not "{name}".', param=name)
    label = match.group(1)
    if label in labels:  # it may be written with percent signs itself
        return label
    for escape, character in ESCAPES.items():
        label = label.replace(escape, character)
    return label


def _truth(labels: Sequence[str], label_set: LabelSet, param: str) -> tuple[int, ...]:
    position = {label: index for index, label in enumerate(label_set.labels)}
    unknown = Counter(label for label in labels if label not in position)
    if unknown:
        first = next(iter(unknown))
        raise InvalidExamplesError(
            f'"{first}" is not a label of this label set ({len(unknown)} unknown in all). Its labels are written '
            "exactly as in GET /v1/label-sets/{name}.",
            param=param,
        )
    return tuple(position[label] for label in labels)


def _check_count(count: int, settings: Settings, param: str) -> None:
    if count == 0:
        raise InvalidExamplesError("No images. Send at least one.", param=param)
    if count > settings.max_job_images:
        raise _too_many(settings, param)


def _too_many(settings: Settings, param: str) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"More than {settings.max_job_images:,} images in one job, which is the limit (QUORUM_MAX_JOB_IMAGES).",
        param=param,
    )
