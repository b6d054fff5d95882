"""The four ways in which images arrive: JSON with base64 or data URIs, multipart files, and one image's raw bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams

from service.api.errors import invalid_request
from service.api.forms import FormRules, TooManyFilesError, read_form
from service.api.schemas import ClassifyFields, ClassifyRequest
from service.errors import (
    InvalidImageError,
    InvalidRequestError,
    PayloadTooLargeError,
    QuorumError,
    UnsupportedMediaTypeError,
)
from service.pipeline.embed import Image
from service.settings import Settings

ACCEPTED = "application/json, multipart/form-data, or an image type such as image/jpeg"
LIST_FIELDS = frozenset({"labels", "templates", "backbones"})
MAX_JSON_VALUES = 1_000_000
"""More than any request within the limits holds. A body of 32 MB may hold thirty times as many, and parsing those would
hold up every other caller for seconds."""
LINE_BREAKS = str.maketrans("", "", "\r\n")
IMAGES_PART = "images"

Item = Image | QuorumError
Fields = TypeVar("Fields", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ClassifyCall:
    images: tuple[Item, ...]
    fields: ClassifyFields


async def read_classify_call(request: Request, settings: Settings) -> ClassifyCall:
    """Read and check a classify request, whatever its content type. Raises a `RequestError` of the fitting kind."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        call = _from_json(await request.body(), settings)
    elif content_type == "multipart/form-data":
        call = await _from_multipart(request, settings)
    elif content_type.startswith("image/") or content_type == "application/octet-stream":
        call = ClassifyCall((Image.of(await request.body()),), _from_query(request.query_params))
    else:
        raise UnsupportedMediaTypeError(f'Content-Type "{content_type}" is not read here. Send {ACCEPTED}.')
    return call


def image_from_text(text: str, param: str) -> Item:
    """The bytes behind base64 or a data URI. What is wrong with them is this item's error."""
    head, comma, tail = text.partition(",")
    if head.startswith("data:"):
        if not comma or not head.endswith(";base64"):
            return InvalidImageError("The data URI must look like data:image/jpeg;base64,…", param=param)
        text = tail
    elif head.startswith(("http://", "https://")):
        return InvalidImageError("URLs are not fetched by this server. Send the image's bytes.", param=param)
    try:
        # Line breaks are what the command `base64` puts in by itself.
        return Image.of(base64.b64decode(text.translate(LINE_BREAKS), validate=True))
    except (binascii.Error, ValueError):
        return InvalidImageError("This is neither base64 nor a data URI.", param=param)


def check_json_size(body: bytes) -> bytes:
    """`body` itself. Raises `PayloadTooLargeError` when it is JSON of too many values, whatever their size."""
    if body.count(b",") > MAX_JSON_VALUES:
        raise PayloadTooLargeError(f"The JSON has more than {MAX_JSON_VALUES:,} values.")
    return body


def _from_json(body: bytes, settings: Settings) -> ClassifyCall:
    parsed = parse_fields(ClassifyRequest, body)
    _check_image_count(len(parsed.images), settings)
    images = tuple(image_from_text(image.data, f"images[{index}]") for index, image in enumerate(parsed.images))
    return ClassifyCall(images, parsed)


async def _from_multipart(request: Request, settings: Settings) -> ClassifyCall:
    rules = FormRules(
        f'"{IMAGES_PART}"', IMAGES_PART.__eq__, max_files=settings.max_images + 1, max_bytes=settings.max_body_bytes
    )
    try:
        form = await read_form(request, rules)
    except TooManyFilesError:
        raise too_many_images(settings.max_images) from None
    _check_image_count(len(form.files), settings)
    fields = parse_fields(ClassifyFields, form.fields)
    return ClassifyCall(tuple(Image.of(data) for _, data in form.files), fields)


def parse_fields(kind: type[Fields], content: bytes) -> Fields:
    """A JSON body or part. Raises a `RequestError` in our words for one that is too large or not of this `kind`."""
    check_json_size(content)
    with _pydantic_errors_in_our_words():
        return kind.model_validate_json(content)


def _from_query(query: QueryParams) -> ClassifyFields:
    values = {key: query.getlist(key) if key in LIST_FIELDS else query[key] for key in query}
    with _pydantic_errors_in_our_words():
        return ClassifyFields.model_validate(values)


@contextmanager
def _pydantic_errors_in_our_words() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise invalid_request(error.errors()) from error


def _check_image_count(count: int, settings: Settings) -> None:
    if count == 0:
        raise InvalidRequestError("No images. Send at least one.", param="images")
    if count > settings.max_images:
        raise too_many_images(settings.max_images)


def too_many_images(limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"More than {limit} images in one request, which is the limit. Send several requests.", param="images"
    )
