"""Registered label sets: named once, encoded once, used by name from then on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from service.api.context import RequestContext
from service.api.guard import GuardedRoute
from service.api.schemas import (
    ActiveCascadeOut,
    ActiveOut,
    LabelSetBackbone,
    LabelSetDetails,
    LabelSetIn,
    LabelSetList,
    LabelSetOut,
    PromiseOut,
)
from service.api.services import ContextDep, Services, ServicesDep
from service.deadline import Deadline
from service.errors import NotFoundError
from service.pipeline.artefacts import promise_of
from service.pipeline.labels import LabelSet, make_label_set
from service.pipeline.planner import Fitted, Standing
from service.stores.base import StoredLabelSet

router = APIRouter(prefix="/v1/label-sets", tags=["label sets"], route_class=GuardedRoute)

Name = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Letters, digits, dot, underscore and dash; at most 64 characters, the first a letter or digit.",
    ),
]


async def find_label_set(name: str, services: Services, deadline: Deadline, *, param: str) -> StoredLabelSet:
    """Raises `NotFoundError` with the call that would create it; `param` is where the request names the label set."""
    stored = await deadline.wait_for(services.label_sets.get(name), "reading the label set")
    if stored is None:
        raise NotFoundError(f'There is no label set "{name}". Create it with PUT /v1/label-sets/{name}.', param=param)
    return stored


@router.put("/{name}", responses={201: {"model": LabelSetDetails}})
async def put_label_set(
    name: Name, body: LabelSetIn, response: Response, services: ServicesDep, context: ContextDep
) -> LabelSetDetails:
    """Create (201) or replace (200) a label set. When this returns, the set is on disk and encoded."""
    label_set = make_label_set(body.labels, body.templates, services.label_limits)
    deadline = _deadline(services, context)
    stored = await deadline.wait_for(services.label_sets.put(name, label_set), "writing the label set")
    fitted = await services.fitted.of(stored, deadline)
    # A text tower that fails or is slow now is asked again by the first request that needs it.
    await services.matrices.of(label_set, services.zoo.backbones, deadline)
    response.status_code = 201 if stored.created_at == stored.updated_at else 200
    return _details(stored, fitted, services)


@router.get("/{name}")
async def get_label_set(name: Name, services: ServicesDep, context: ContextDep) -> LabelSetDetails:
    """With the active controller and cascade, and whether they apply."""
    deadline = _deadline(services, context)
    stored = await find_label_set(name, services, deadline, param="name")
    return _details(stored, await services.fitted.of(stored, deadline), services)


@router.delete("/{name}", status_code=204)
async def delete_label_set(name: Name, services: ServicesDep, context: ContextDep) -> None:
    if not await _deadline(services, context).wait_for(services.label_sets.delete(name), "deleting the label set"):
        raise NotFoundError(f'There is no label set "{name}".', param="name")
    services.shadow.forget(name)


@router.get("")
async def list_label_sets(
    services: ServicesDep,
    context: ContextDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="`last_id` of the page before.")] = None,
) -> LabelSetList:
    """In order of name, page by page. What was fitted is told of one label set at a time."""
    listing = services.label_sets.list(after=after, limit=limit)
    page = await _deadline(services, context).wait_for(listing, "listing label sets")
    data = [_shape(stored, services) for stored in page.items]
    return LabelSetList(
        data=data,
        has_more=page.has_more,
        first_id=data[0].name if data else None,
        last_id=data[-1].name if data else None,
    )


def _deadline(services: Services, context: RequestContext) -> Deadline:
    return context.deadline(services.settings.default_deadline_ms)


def _details(stored: StoredLabelSet, fitted: Fitted, services: Services) -> LabelSetDetails:
    controller, cascade = fitted.standing.get("controller"), fitted.standing.get("cascade")
    return LabelSetDetails(
        **_shape(stored, services).model_dump(),
        controller=controller and ActiveOut(**_active(controller)),
        cascade=cascade and _active_cascade(cascade),
    )


def _active(standing: Standing) -> dict[str, Any]:
    return {"version": standing.about.version, "applies": standing.reason is None, "reason": standing.reason}


def _active_cascade(standing: Standing) -> ActiveCascadeOut:
    promise = promise_of(standing.about.metadata)
    shown = promise and PromiseOut(epsilon=promise.epsilon, delta=promise.delta)
    return ActiveCascadeOut(**_active(standing), promise=shown)


def _shape(stored: StoredLabelSet, services: Services) -> LabelSetOut:
    label_set = stored.label_set
    return LabelSetOut(
        name=stored.name,
        labels=_labels(label_set),
        templates=list(label_set.templates),
        digest=label_set.digest,
        backbones={
            backbone.name: LabelSetBackbone(
                digest=backbone.text.digest, encoded=services.matrices.has(label_set, backbone)
            )
            for backbone in services.zoo.backbones
        },
        created_at=stored.created_at,
        updated_at=stored.updated_at,
    )


def _labels(label_set: LabelSet) -> list[str] | dict[str, list[str]]:
    """As they were sent: a plain list when every class is said by its own name alone."""
    pairs = list(zip(label_set.labels, label_set.phrasings, strict=True))
    if all(phrasings == (label,) for label, phrasings in pairs):
        return list(label_set.labels)
    return {label: list(phrasings) for label, phrasings in pairs}
