"""What is in a gallery: added, looked up, listed, deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.api.bodies import parse_fields
from service.api.classify import deadline_of, raise_if_alone
from service.api.context import RequestContext
from service.api.errors import error_body
from service.api.galleries import find_gallery
from service.api.gallery_bodies import ItemsCall, checked_id, read_items_call
from service.api.gallery_schemas import (
    DeleteItemsRequest,
    FilterOnly,
    IdsRequest,
    ItemFailure,
    ItemList,
    ItemOut,
    ItemResult,
    ItemsDeleted,
    ItemsFields,
    ItemsFound,
    ItemsRequest,
    ItemsResponse,
    ItemsUsage,
)
from service.api.guard import GuardedRoute, take_images
from service.api.label_sets import Name
from service.api.openapi import items_body
from service.api.services import ContextDep, Services, ServicesDep
from service.deadline import Deadline
from service.errors import InvalidRequestError, PayloadTooLargeError, QuorumError
from service.galleries.base import GallerySpec, ItemAbout
from service.galleries.filters import compile_filter
from service.pipeline.retrieval.galleries import members_served
from service.pipeline.retrieval.ingest import Added, IngestQuery, NewItem

router = APIRouter(prefix="/v1/galleries/{name}/items", tags=["galleries"], route_class=GuardedRoute)


@router.post("", response_model=ItemsResponse, openapi_extra=items_body(ItemsRequest, ItemsFields))
async def add_items(name: Name, request: Request, services: ServicesDep, context: ContextDep) -> Response:
    """Add items, or replace those of known ids. What is answered with a status is stored and survives a crash.

    An item that is there with the same content and fields is `unchanged`, and not embedded again: an import that was
    cut off is simply sent again.
    """
    spec = await find_gallery(name, services.galleries, _deadline(services, context))
    backbones = members_served(spec, services.zoo)
    with context.timings.measure("read"):
        call = await read_items_call(request, spec, services.settings)
    await take_images((each.content for each in call.items if isinstance(each, NewItem)), context, services)
    deadline = deadline_of(call.deadline_ms, services, context)
    added = await services.ingester.add(IngestQuery(spec, backbones, call.items, deadline), context.timings)
    raise_if_alone(added.outcomes, "items")
    changes = ["failed" if isinstance(each, QuorumError) else each for each in added.outcomes]
    services.metrics.answers.items_added(changes, added.gflops)
    with context.timings.measure("shape"):
        return Response(_answer(spec, call, added, context).model_dump_json(), media_type="application/json")


@router.get("")
async def list_items(
    name: Name,
    services: ServicesDep,
    context: ContextDep,
    limit: Annotated[int, Query(ge=1)] = 100,
    after: Annotated[str | None, Query(description="`last_id` of the page before.")] = None,
    filter_: Annotated[str | None, Query(alias="filter", description="As in a search, as JSON text.")] = None,
) -> ItemList:
    """In order of id, page by page."""
    deadline = _deadline(services, context)
    if limit > services.settings.max_top_k:
        raise InvalidRequestError(f"limit is {limit:,}, the limit is {services.settings.max_top_k:,}.", param="limit")
    spec = await find_gallery(name, services.galleries, deadline)
    where = None
    if filter_ is not None:
        given = parse_fields(FilterOnly, b'{"filter":' + filter_.encode(errors="surrogatepass") + b"}").filter
        where = compile_filter(given, spec.fields)
    page = await services.galleries.items(spec, after=after, limit=limit, where=where, deadline=deadline)
    data = [_shape(each) for each in page.items]
    return ItemList(
        data=data,
        has_more=page.has_more,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )


@router.post("/lookup")
async def look_up_items(name: Name, body: IdsRequest, services: ServicesDep, context: ContextDep) -> ItemsFound:
    """Items by id. Their digests tell whether something has changed since it was added."""
    deadline = _deadline(services, context)
    ids = _checked_ids(body.ids, services)
    spec = await find_gallery(name, services.galleries, deadline)
    found = await services.galleries.look_up(spec, ids, deadline)
    return ItemsFound(
        data=[_shape(found[each]) for each in ids if each in found], missing=[each for each in ids if each not in found]
    )


@router.post("/delete")
async def delete_items(
    name: Name, body: DeleteItemsRequest, services: ServicesDep, context: ContextDep
) -> ItemsDeleted:
    """By id, or all that match a filter. Ids that are not there are no error."""
    deadline = _deadline(services, context)
    spec = await find_gallery(name, services.galleries, deadline)
    if body.ids is not None:
        ids = _checked_ids(body.ids, services)
        return ItemsDeleted(deleted=await services.galleries.delete(spec, deadline, ids=ids))
    where = compile_filter(body.filter or {}, spec.fields)
    return ItemsDeleted(deleted=await services.galleries.delete(spec, deadline, where=where))


def _checked_ids(given: list[str], services: Services) -> list[str]:
    if len(given) > services.settings.max_items:
        raise PayloadTooLargeError(
            f"More than {services.settings.max_items:,} ids in one call, which is the limit.", param="ids"
        )
    return list(dict.fromkeys(checked_id(each) for each in given))


def _answer(spec: GallerySpec, call: ItemsCall, added: Added, context: RequestContext) -> ItemsResponse:
    results: list[ItemResult | ItemFailure] = []
    for index, (name, outcome) in enumerate(zip(call.ids, added.outcomes, strict=True)):
        if isinstance(outcome, QuorumError):
            blamed = outcome.with_param(outcome.param or f"items[{index}]")
            results.append(ItemFailure(index=index, id=name, error=error_body(blamed, context.request_id)))
        else:
            results.append(ItemResult(index=index, id=name, status=outcome))
    usage = ItemsUsage(items=len(results), backbone_calls=dict(added.calls), gflops=added.gflops)
    return ItemsResponse(gallery=spec.name, results=results, usage=usage)


def _shape(about: ItemAbout) -> ItemOut:
    return ItemOut(id=about.id, modality=about.modality, digest=about.digest, fields=dict(about.fields))


def _deadline(services: Services, context: RequestContext) -> Deadline:
    return context.deadline(services.settings.default_deadline_ms)
