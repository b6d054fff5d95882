"""`/v1/admin/log-level`: how much this process logs, changed while it runs."""

from __future__ import annotations

import logging

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.api.guard import GuardedRoute
from service.api.services import ContextDep, ServicesDep
from service.observability.logs import log_level, set_log_level
from service.policies import LogLevel

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/admin/log-level", tags=["operations"], route_class=GuardedRoute)


class LogLevelIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    level: LogLevel = Field(description="Least severe level logged.")


class LogLevelOut(BaseModel):
    """`at_start` is what the process begins with, and has again after a restart."""

    level: LogLevel
    at_start: LogLevel


@router.get("")
async def get_log_level(services: ServicesDep) -> LogLevelOut:
    """Of the process that answers: behind a load balancer that is any one of the gateways."""
    return LogLevelOut(level=log_level(), at_start=services.settings.log_level)


@router.put("")
async def put_log_level(wanted: LogLevelIn, services: ServicesDep, context: ContextDep) -> LogLevelOut:
    """Until the process that answers ends, and in it alone: ask each gateway at its own address."""
    before = log_level()
    set_log_level("info")  # for this one line, which is to be found whatever the levels are
    by = {} if context.key is None else {"key": context.key.name}
    log.info("the log level is %s now; it was %s", wanted.level, before, extra=by)
    set_log_level(wanted.level)
    return await get_log_level(services)
