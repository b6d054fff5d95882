"""Jobs: work that goes on after its call was answered. They are begun by the calls that want their results."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.context import RequestContext
from service.api.guard import GuardedRoute
from service.api.schemas import ErrorBody, JobList, JobOut
from service.api.services import ContextDep, Services, ServicesDep
from service.deadline import Deadline
from service.errors import ConflictError, NotFoundError
from service.stores.base import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute)


@router.get("/{job_id}")
async def get_job(job_id: str, services: ServicesDep, context: ContextDep) -> JobOut:
    """How far it is, and once it is finished what came of it. Finished jobs are kept for a stated time."""
    return shape_job(
        _found(await _deadline(services, context).wait_for(services.jobs.get(job_id), "reading the job"), job_id)
    )


@router.delete("/{job_id}")
async def cancel_job(job_id: str, services: ServicesDep, context: ContextDep) -> JobOut:
    """Cancel a job that is queued or running: nothing of it is activated. 409 when it succeeded or failed before."""
    cancelling = services.runner.cancel(job_id)
    job = _found(await _deadline(services, context).wait_for(cancelling, "cancelling the job"), job_id)
    if job.state != "cancelled":
        raise ConflictError(f"{job_id} {job.state} before it could be cancelled.", param="job_id")
    return shape_job(job)


@router.get("")
async def list_jobs(
    services: ServicesDep,
    context: ContextDep,
    label_set: Annotated[str | None, Query(description="Jobs of this label set alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="`last_id` of the page before.")] = None,
) -> JobList:
    """Newest first, page by page."""
    listing = services.jobs.list(label_set=label_set, after=after, limit=limit)
    page = await _deadline(services, context).wait_for(listing, "listing jobs")
    data = [shape_job(job) for job in page.items]
    return JobList(
        data=data,
        has_more=page.has_more,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )


def shape_job(job: Job) -> JobOut:
    """As callers see it, also those that have just begun it."""
    error = job.error
    return JobOut(
        id=job.id,
        kind=job.kind,
        label_set=job.label_set,
        state=job.state,
        progress=job.progress,
        result=None if job.result is None else dict(job.result),
        error=error
        and ErrorBody(
            message=error.message, type=error.type, param=error.param, code=error.code, request_id=job.request_id
        ),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _found(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise NotFoundError(f'There is no job "{job_id}". Finished ones are forgotten after a while.', param="job_id")
    return job


def _deadline(services: Services, context: RequestContext) -> Deadline:
    return context.deadline(services.settings.default_deadline_ms)
