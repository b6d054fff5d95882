"""For those who watch: liveness, readiness, metrics. None of them asks for a key, waits, or touches shared services."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.schemas import Health
from service.api.services import ServicesDep
from service.errors import UnavailableError

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz(services: ServicesDep) -> Health:
    """503 once something in this process is broken for good, so that it gets restarted."""
    problems = services.problems()
    if problems:
        raise UnavailableError(" ".join(problems))
    return Health()


@router.get("/readyz")
async def readyz(services: ServicesDep) -> Health:
    """200 while this process is loaded, healthy and not draining. Speaks of this process alone."""
    if not services.ready or services.admission.draining:
        raise UnavailableError("This process is starting up or shutting down.")
    return await healthz(services)


@router.get("/metrics", response_class=Response)
async def metrics(services: ServicesDep) -> Response:
    """Prometheus' text format."""
    return Response(services.metrics.render(), media_type=CONTENT_TYPE_LATEST)
