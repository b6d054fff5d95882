"""The four ways in which images arrive: JSON with base64 or data URIs, multipart files, and one image's raw bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.api.errors import invalid_request
from service.api.schemas import ClassifyFields, ClassifyRequest
from service.errors import (
    InvalidImageError,
    InvalidRequestError,
    MalformedBodyError,
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
FIELDS_PART = "request"

Item = Image | QuorumError


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
    check_json_size(body)
    with _pydantic_errors_in_our_words():
        parsed = ClassifyRequest.model_validate_json(body)
    _check_image_count(len(parsed.images), settings)
    images = tuple(image_from_text(image.data, f"images[{index}]") for index, image in enumerate(parsed.images))
    return ClassifyCall(images, parsed)


async def _from_multipart(request: Request, settings: Settings) -> ClassifyCall:
    parser = _InMemoryParser(
        request.headers,
        request.stream(),
        max_files=settings.max_images + 1,
        max_fields=1,
        max_part_size=settings.max_body_bytes,
    )
    parser.spool_max_size = settings.max_body_bytes
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError) as error:  # the latter by a charset of the caller's choice
        if str(getattr(error, "message", "")).startswith("Too many files"):
            _check_image_count(settings.max_images + 1, settings)
        raise MalformedBodyError(
            f'The multipart body cannot be read. Send files named "{IMAGES_PART}" and one JSON part "{FIELDS_PART}".'
        ) from error
    try:
        return await _from_form(form, settings)
    finally:
        await form.close()


async def _from_form(form: FormData, settings: Settings) -> ClassifyCall:
    for name in form:
        if name not in (IMAGES_PART, FIELDS_PART):
            raise InvalidRequestError(
                f'Unknown part "{name}". Files are named "{IMAGES_PART}", everything else goes into one JSON part '
                f'named "{FIELDS_PART}".',
                param=name,
            )
    parts = form.getlist(IMAGES_PART)
    files = [part for part in parts if isinstance(part, UploadFile)]
    if len(files) < len(parts):
        raise InvalidRequestError(f'A part "{IMAGES_PART}" has no filename. Send images as files.', param=IMAGES_PART)
    _check_image_count(len(files), settings)
    fields, *others = form.getlist(FIELDS_PART) or ["{}"]
    if others:
        raise InvalidRequestError(f'There are several parts "{FIELDS_PART}". Send one.', param=FIELDS_PART)
    content = await fields.read() if isinstance(fields, UploadFile) else fields.encode(errors="surrogatepass")
    check_json_size(content)
    with _pydantic_errors_in_our_words():
        parsed = ClassifyFields.model_validate_json(content)
    return ClassifyCall(tuple([Image.of(await file.read()) for file in files]), parsed)


class _InMemoryParser(MultiPartParser):
    """Starlette moves files beyond `spool_max_size` to disk. Images are never stored, so nothing may go there.

    It also takes a body without its last boundary for a whole one, and forgets the part that was cut off.
    """

    _complete = False

    def on_end(self) -> None:
        self._complete = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._complete:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("The last boundary is missing.")
        return form


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
        raise PayloadTooLargeError(
            f"More than {settings.max_images} images in one request, which is the limit. Send several requests.",
            param="images",
        )
