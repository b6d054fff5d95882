"""Controllers and cascades of label sets: made by jobs, looked at, rolled back, deleted."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from service.api.context import RequestContext
from service.api.example_bodies import read_cascade_call, read_controller_call
from service.api.guard import GuardedRoute, take_images
from service.api.jobs import shape_job
from service.api.label_sets import Name, find_label_set
from service.api.openapi import fitting_body
from service.api.schemas import (
    CascadeRequest,
    ControllerRequest,
    FittedOut,
    JobOut,
    ShadowOut,
    VersionIn,
    VersionOut,
)
from service.api.services import ContextDep, Services, ServicesDep
from service.deadline import Deadline
from service.errors import ConflictError, NotFoundError
from service.jobs.fitting import CascadeJob, ControllerJob, cascade_work, controller_work
from service.pipeline.artefacts import fitted_digests
from service.pipeline.planner import Fitted, FittedCascade, FittedController
from service.pipeline.shadow import Tally
from service.policies import ArtefactKind
from service.stores.base import ArtefactVersion, StoredLabelSet

PATHS: Final = re.compile(r"/v1/label-sets/[^/]+/(controller|cascade)")
"""The calls whose bodies may be larger than others'."""


async def _kind(request: Request) -> ArtefactKind:
    return "cascade" if request.url.path.endswith("/cascade") else "controller"


# Two addresses each instead of one with a parameter: what else is asked for is not there, and no wrong parameter.
Kind = Annotated[ArtefactKind, Depends(_kind)]

router = APIRouter(prefix="/v1/label-sets", tags=["controllers and cascades"], route_class=GuardedRoute)


@router.post("/{name}/controller", status_code=202, openapi_extra=fitting_body(ControllerRequest, "examples[LABEL]"))
async def fit_controller(name: Name, request: Request, services: ServicesDep, context: ContextDep) -> JobOut:
    """Fit a controller on labelled examples, in the background. It serves once it beats what answers without it."""
    deadline = _deadline(services, context)
    stored = await find_label_set(name, services, deadline, param="name")
    call = await read_controller_call(request, stored.label_set, services.settings)
    await take_images(call.images, context, services)
    generic = None if services.generic is None else services.generic.controller.generic
    job = ControllerJob(stored.label_set, call.images, call.truth, call.seed, generic)
    submitted = await services.runner.submit(
        stored, "controller", controller_work(services.gatherer, job), request_id=context.request_id
    )
    return shape_job(submitted)


@router.post("/{name}/cascade", status_code=202, openapi_extra=fitting_body(CascadeRequest, "images"))
async def calibrate_cascade(name: Name, request: Request, services: ServicesDep, context: ContextDep) -> JobOut:
    """Calibrate a cascade on images like those to come, in the background, under the controller that is active now."""
    deadline = _deadline(services, context)
    stored = await find_label_set(name, services, deadline, param="name")
    call = await read_cascade_call(request, stored.label_set, services.settings)
    await take_images(call.images, context, services)
    # Counted anew: such a body may take longer to arrive than a call may take otherwise.
    deadline = Deadline.after(services.settings.default_deadline_ms / 1e3)
    controller = (await services.fitted.of(stored, deadline)).controller
    job = CascadeJob(
        label_set=stored.label_set,
        images=call.images,
        truth=call.truth,
        epsilon=call.epsilon,
        delta=call.delta,
        controller=controller,
        fitted=await _fitted_on(controller, name, services, deadline),
    )
    submitted = await services.runner.submit(
        stored, "cascade", cascade_work(services.gatherer, job), request_id=context.request_id
    )
    return shape_job(submitted)


@router.get("/{name}/controller")
@router.get("/{name}/cascade")
async def get_fitted(name: Name, kind: Kind, services: ServicesDep, context: ContextDep) -> FittedOut:
    """The active version and the ones that one can go back to, with what was measured when they were made."""
    deadline = _deadline(services, context)
    stored = await find_label_set(name, services, deadline, param="name")
    return await _shape(stored, kind, services, deadline)


@router.put("/{name}/controller")
@router.put("/{name}/cascade")
async def activate_fitted(
    name: Name, kind: Kind, body: VersionIn, services: ServicesDep, context: ContextDep
) -> FittedOut:
    """Go back (or forward) to a version that is still kept. 409 when it was made for other labels."""
    deadline = _deadline(services, context)
    stored = await find_label_set(name, services, deadline, param="name")
    activating = services.artefacts.activate(name, kind, body.version)
    if await deadline.wait_for(activating, f"activating the {kind}") is None:
        raise NotFoundError(f'There is no version {body.version} of the {kind} of "{name}".', param="version")
    return await _shape(stored, kind, services, deadline)


@router.delete("/{name}/controller", status_code=204)
@router.delete("/{name}/cascade", status_code=204)
async def delete_fitted(name: Name, kind: Kind, services: ServicesDep, context: ContextDep) -> None:
    """Every version of it."""
    deleting = services.artefacts.delete(name, kind)
    if not await _deadline(services, context).wait_for(deleting, f"deleting the {kind}"):
        raise NotFoundError(f'"{name}" has no {kind}.', param="name")
    if kind == "cascade":
        services.shadow.forget(name)


async def _fitted_on(
    controller: FittedController | None, name: str, services: Services, deadline: Deadline
) -> frozenset[str]:
    """Digests of the images that `controller` was fitted on. Raises `ConflictError` when it is gone meanwhile."""
    if controller is None or controller.version is None:  # the shipped one was fitted on nobody's images
        return frozenset()
    reading = services.artefacts.get(name, "controller", controller.version)
    artefact = await deadline.wait_for(reading, "reading the controller")
    if artefact is None:
        raise ConflictError(f"The controller {controller.name} was deleted meanwhile. Send the call again.")
    return fitted_digests(artefact)


async def _shape(stored: StoredLabelSet, kind: ArtefactKind, services: Services, deadline: Deadline) -> FittedOut:
    versions = await deadline.wait_for(services.artefacts.list(stored.name, kind), f"reading the {kind}")
    if not versions:
        raise NotFoundError(
            f'"{stored.name}" has no {kind}. Make one with POST /v1/label-sets/{stored.name}/{kind}.', param="name"
        )
    fitted = await services.fitted.of(stored, deadline)
    reasons = {about.version: _reason(about, stored, fitted, services) for about in versions}
    return FittedOut(
        label_set=stored.name,
        kind=kind,
        active=next((about.version for about in versions if about.active), None),
        versions=[
            VersionOut(
                version=about.version,
                created_at=about.created_at,
                active=about.active,
                applies=reasons[about.version] is None,
                reason=reasons[about.version],
                about=about.metadata.get("about", {}),
            )
            for about in versions
        ],
        shadow=_shadow(fitted.cascade, services) if kind == "cascade" else None,
    )


def _reason(about: ArtefactVersion, stored: StoredLabelSet, fitted: Fitted, services: Services) -> str | None:
    """Why a version does not apply, or would not if it were active."""
    standing = fitted.standing.get(about.kind)
    if standing is not None and standing.about.version == about.version:
        return standing.reason
    return services.fitted.reason(about, stored, fitted.controller)


def _shadow(cascade: FittedCascade | None, services: Services) -> ShadowOut | None:
    if cascade is None:
        return None
    tally = services.shadow.seen(cascade.calibrated) or Tally(cascade.promise.epsilon)
    return ShadowOut(
        checked=tally.checked,
        disagreements=tally.disagreements,
        observed=tally.observed,
        lower_bound=tally.lower_bound,
        epsilon=tally.epsilon,
        alert=tally.alert,
    )


def _deadline(services: Services, context: RequestContext) -> Deadline:
    return context.deadline(services.settings.default_deadline_ms)
