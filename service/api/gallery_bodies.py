"""What is put into a gallery and what is looked for in it, as they arrive."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from fastapi import Request

from service.api.bodies import image_from_text, parse_fields, too_many_images
from service.api.embedding_inputs import checked_text
from service.api.example_bodies import ESCAPES
from service.api.forms import Form, FormRules, TooManyFilesError, read_form
from service.api.gallery_schemas import ItemIn, ItemsFields, ItemsRequest, PartIn, QueryIn, SearchRequest
from service.errors import (
    InvalidItemError,
    InvalidRequestError,
    PayloadTooLargeError,
    QuorumError,
    UnsupportedMediaTypeError,
)
from service.galleries.base import GallerySpec
from service.galleries.filters import check_fields
from service.pipeline.embed import Image
from service.pipeline.retrieval.evidence import ById, Part, Thing
from service.pipeline.retrieval.galleries import Ready, as_kept, digest_of_embedding, read_embedding
from service.pipeline.retrieval.ingest import NewItem, distinct_ids
from service.policies import Modality
from service.settings import Settings

IMAGE_PART: Final = re.compile(r"images\[(.+)\]", re.DOTALL)
MAX_ID_BYTES: Final = 512

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class ItemsCall:
    """`ids[i]` is of `items[i]`, which may be what is wrong with it."""

    ids: tuple[str, ...]
    items: tuple[NewItem | QuorumError, ...]
    deadline_ms: int | None


async def read_items_call(request: Request, spec: GallerySpec, settings: Settings) -> ItemsCall:
    """JSON, or multipart files named `images[ID]`. Raises a `RequestError` for what is wrong with the call itself."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        form = await _form(request, settings)
        return await asyncio.to_thread(_items_from_form, form, spec, settings)
    if content_type == "application/json":
        return await asyncio.to_thread(_items_from_json, await request.body(), spec, settings)
    raise UnsupportedMediaTypeError(
        f'Content-Type "{content_type}" is not read here. Send application/json or multipart/form-data.'
    )


def read_queries(
    call: SearchRequest, spec: GallerySpec, settings: Settings
) -> tuple[tuple[Part, ...] | QuorumError, ...]:
    """The parts of each query, or what is wrong with it. Raises `PayloadTooLargeError` for too many."""
    if len(call.queries) > settings.max_queries:
        raise PayloadTooLargeError(
            f"More than {settings.max_queries} queries in one search, which is the limit. Send several.",
            param="queries",
        )
    images = sum(part.image is not None for query in call.queries for part in (query, *(query.mix or ())))
    if images > settings.max_images:
        raise too_many_images(settings.max_images).with_param("queries")
    return _each(call.queries, "queries", lambda where, query: _parts(query, where, spec, settings))


def _items_from_json(body: bytes, spec: GallerySpec, settings: Settings) -> ItemsCall:
    call = parse_fields(ItemsRequest, body)
    ids = [item.id for item in call.items]
    _check_items(ids, sum(item.image is not None for item in call.items), settings)
    items = _each(call.items, "items", lambda where, item: _item(item, where, spec, settings))
    return ItemsCall(tuple(ids), items, call.deadline_ms)


def _items_from_form(form: Form, spec: GallerySpec, settings: Settings) -> ItemsCall:
    call = parse_fields(ItemsFields, form.fields)
    files = [(_id_of(name, call.fields), data) for name, data in form.files]
    ids = [name for name, _ in files]
    _check_items(ids, len(ids), settings)
    unknown = next((name for name in call.fields if name not in set(ids)), None)
    if unknown is not None:
        raise InvalidRequestError(f'There are fields for "{unknown}", but no file "images[{unknown}]".', param="fields")

    def read(_: str, file: tuple[str, bytes]) -> NewItem:
        name, data = file
        fields = check_fields(call.fields.get(name, {}), spec.fields, settings.max_field_characters)
        return NewItem(checked_id(name), Image.of(data), fields)

    return ItemsCall(tuple(ids), _each(files, "items", read), call.deadline_ms)


def checked_id(given: str) -> str:
    """Raises `InvalidItemError` for an id that is too long or no text."""
    try:
        size = len(given.encode())
    except UnicodeEncodeError:
        raise InvalidItemError("The id is no text that UTF-8 can hold (half a surrogate pair).") from None
    if not 0 < size <= MAX_ID_BYTES or "\0" in given:
        raise InvalidItemError(f"An id has 1 to {MAX_ID_BYTES} bytes and no NUL; this one has {size}.")
    return given


def _item(item: ItemIn, param: str, spec: GallerySpec, settings: Settings) -> NewItem:
    name = checked_id(item.id)
    fields = check_fields(item.fields, spec.fields, settings.max_field_characters)
    if item.image is not None:
        return NewItem(name, _image(item.image.data, f"{param}.image"), fields)
    if item.text is not None:
        return NewItem(name, checked_text(item.text, settings.max_text_characters), fields)
    return NewItem(name, _ready(item.embedding or [], item.modality, f"{param}.embedding", spec), fields)


def _parts(query: QueryIn, param: str, spec: GallerySpec, settings: Settings) -> tuple[Part, ...]:
    if query.mix is None:
        return (Part(_thing(query, param, spec, settings), 1.0, param),)
    named = [(f"{param}.mix[{place}]", part) for place, part in enumerate(query.mix)]
    return tuple(Part(_thing(part, name, spec, settings), part.weight, name) for name, part in named)


def _thing(part: PartIn, param: str, spec: GallerySpec, settings: Settings) -> Thing:
    if part.text is not None:
        return checked_text(part.text, settings.max_text_characters)
    if part.image is not None:
        return _image(part.image, param)
    if part.id is not None:
        return ById(checked_id(part.id))
    return _ready(part.embedding or [], part.modality, param, spec)


def _image(text: str, param: str) -> Image:
    image = image_from_text(text, param)
    if isinstance(image, QuorumError):
        raise image
    return image


def _ready(given: Sequence[float] | str, modality: Modality, param: str, spec: GallerySpec) -> Ready:
    sent = read_embedding(given, spec, param)
    return Ready(as_kept(sent, spec, param), digest_of_embedding(sent), modality)


def _each(given: Sequence[T], place: str, read: Callable[[str, T], U]) -> tuple[U | QuorumError, ...]:
    """What `read` makes of each, told where it is (`items[3]`). A wrong one is its own error, not its neighbours'."""
    outcomes: list[U | QuorumError] = []
    for index, one in enumerate(given):
        where = f"{place}[{index}]"
        try:
            outcomes.append(read(where, one))
        except QuorumError as error:
            inside = error.param or ""
            outcomes.append(error if inside.startswith(where) else error.with_param(f"{where}.{inside}".rstrip(".")))
    return tuple(outcomes)


def _check_items(ids: Sequence[str], images: int, settings: Settings) -> None:
    if not ids:
        raise InvalidRequestError("No items. Send at least one.", param="items")
    if len(ids) > settings.max_items:
        raise PayloadTooLargeError(
            f"More than {settings.max_items:,} items in one call, which is the limit. Send several.", param="items"
        )
    if images > settings.max_images:
        raise too_many_images(settings.max_images).with_param("items")
    twice = distinct_ids(ids)
    if twice is not None:
        raise InvalidRequestError(f'The id "{twice}" comes twice. Send each item once.', param="items")


async def _form(request: Request, settings: Settings) -> Form:
    rules = FormRules(
        '"images[ID]"',
        lambda name: IMAGE_PART.fullmatch(name) is not None,
        max_files=settings.max_images + 1,
        max_bytes=settings.max_body_bytes,
    )
    try:
        return await read_form(request, rules)
    except TooManyFilesError:
        raise too_many_images(settings.max_images).with_param("items") from None


def _id_of(part: str, fields: Mapping[str, object]) -> str:
    match = IMAGE_PART.fullmatch(part)
    name = match.group(1) if match else part
    if name in fields:  # it may be written with percent signs itself
        return name
    for escape, character in ESCAPES.items():
        name = name.replace(escape, character)
    return name
