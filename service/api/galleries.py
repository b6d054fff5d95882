"""Galleries: created, looked at, listed, deleted. What is in them is another file's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.api.gallery_schemas import (
    GalleryDetails,
    GalleryIn,
    GalleryList,
    GalleryMemberOut,
    GalleryOut,
    IndexOut,
)
from service.api.guard import GuardedRoute
from service.api.label_sets import Name
from service.api.services import ContextDep, Services, ServicesDep
from service.deadline import Deadline
from service.errors import GalleryDiffersError, InvalidRequestError, NotFoundError, UnknownBackboneError
from service.galleries.base import GallerySpec, GalleryStore
from service.pipeline.retrieval.galleries import default_prefix, member_of, stale_reason
from service.repository import Backbone

router = APIRouter(prefix="/v1/galleries", tags=["galleries"], route_class=GuardedRoute)


async def find_gallery(name: str, store: GalleryStore, deadline: Deadline) -> GallerySpec:
    """Raises `NotFoundError` with the call that would create it."""
    spec = await store.get(name, deadline)
    if spec is None:
        raise NotFoundError(f'There is no gallery "{name}". Create it with PUT /v1/galleries/{name}.', param="name")
    return spec


@router.put("/{name}", responses={201: {"model": GalleryDetails}})
async def put_gallery(
    name: Name, body: GalleryIn, response: Response, services: ServicesDep, context: ContextDep
) -> GalleryDetails:
    """Create a gallery (201). 200 when it is there as asked for, 409 when it is there and something else."""
    deadline = _deadline(services, context)
    wanted = _spec(name, body, services)
    found = await services.galleries.create(wanted, deadline)
    _check_same(wanted, found)
    response.status_code = 201 if found.created_at == wanted.created_at else 200
    return await _details(found, services, deadline)


@router.get("/{name}")
async def get_gallery(name: Name, services: ServicesDep, context: ContextDep) -> GalleryDetails:
    """What it is, how much it holds, and how it is searched."""
    deadline = _deadline(services, context)
    return await _details(await find_gallery(name, services.galleries, deadline), services, deadline)


@router.delete("/{name}", status_code=204)
async def delete_gallery(name: Name, services: ServicesDep, context: ContextDep) -> None:
    """With everything in it."""
    if not await services.galleries.drop(name, _deadline(services, context)):
        raise NotFoundError(f'There is no gallery "{name}".', param="name")


@router.get("")
async def list_galleries(
    services: ServicesDep,
    context: ContextDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="`last_id` of the page before.")] = None,
) -> GalleryList:
    """In order of name, page by page."""
    page = await services.galleries.list(after=after, limit=limit, deadline=_deadline(services, context))
    data = [GalleryOut(**_shape(spec, services)) for spec in page.items]
    return GalleryList(
        data=data,
        has_more=page.has_more,
        first_id=data[0].name if data else None,
        last_id=data[-1].name if data else None,
    )


def _spec(name: str, body: GalleryIn, services: Services) -> GallerySpec:
    if len(body.fields) > services.settings.max_gallery_fields:
        raise InvalidRequestError(
            f"More than {services.settings.max_gallery_fields} fields, which is the limit.", param="fields"
        )
    backbones = services.zoo.select(body.backbones)
    return GallerySpec(
        name=name,
        members=tuple(member_of(backbone) for backbone in backbones),
        prefix=_prefix(body, backbones, services),
        metric=body.metric,
        fields=dict(body.fields),
        created_at=datetime.now(UTC),
    )


def _prefix(body: GalleryIn, backbones: tuple[Backbone, ...], services: Services) -> tuple[str, ...]:
    """In the gallery's order, whatever order it was asked for in."""
    names = [backbone.name for backbone in backbones]
    if body.prefix is None:
        shipped = services.retrieval
        speaks = shipped is not None and shipped.speaks_for(names) and set(shipped.file.prefix) <= set(names)
        chosen = shipped.file.prefix if shipped is not None and speaks else default_prefix(backbones)
    else:
        chosen = tuple(body.prefix)
    for name in chosen:
        if name not in names:
            raise UnknownBackboneError(
                f'The prefix names "{name}", which is none of {", ".join(names)}.', param="prefix"
            )
    return tuple(name for name in names if name in chosen)


def _check_same(wanted: GallerySpec, found: GallerySpec) -> None:
    for part in ("members", "prefix", "metric", "fields"):
        if getattr(wanted, part) != getattr(found, part):
            blamed = "backbones" if part == "members" else part
            raise GalleryDiffersError(
                f'There is a gallery "{found.name}" with other {blamed}. Use another name, or delete it first with '
                f"DELETE /v1/galleries/{found.name}.",
                param=blamed,
            )


async def _details(spec: GallerySpec, services: Services, deadline: Deadline) -> GalleryDetails:
    status = await services.galleries.status(spec, deadline)
    index = IndexOut(type=status.index.type, params=dict(status.index.params), exact=status.index.exact)
    return GalleryDetails(**_shape(spec, services), items=status.items, state=status.state, index=index)


def _shape(spec: GallerySpec, services: Services) -> dict[str, object]:
    return {
        "name": spec.name,
        "backbones": [
            GalleryMemberOut(name=each.name, width=each.width, image=each.image, text=each.text)
            for each in spec.members
        ],
        "prefix": list(spec.prefix),
        "metric": spec.metric,
        "fields": dict(spec.fields),
        "stale": stale_reason(spec, services.zoo),
        "created_at": spec.created_at,
    }


def _deadline(services: Services, context: ContextDep) -> Deadline:
    return context.deadline(services.settings.default_deadline_ms)
