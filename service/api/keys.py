"""`GET /v1/keys`: who may ask for what. The keys are known to nobody here, and their digests are not told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from service.api.guard import GuardedRoute
from service.api.services import ServicesDep
from service.keys import SCOPES, ApiKey, Scope

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=GuardedRoute)


class KeyOut(BaseModel):
    """A limit of null is none; `expires` null is never."""

    name: str
    scopes: list[Scope]
    requests_per_minute: int | None
    images_per_minute: int | None
    expires: datetime | None
    expired: bool


class KeyList(BaseModel):
    object: Literal["list"] = "list"
    data: list[KeyOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


@router.get("")
async def list_keys(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="`last_id` of the page before.")] = None,
) -> KeyList:
    """In order of name, page by page. Empty where the server asks for no keys."""
    keys = () if services.keys is None else services.keys.keys
    later = sorted((each for each in keys if after is None or each.name > after), key=lambda each: each.name)
    page = [_shape(each) for each in later[:limit]]
    return KeyList(
        data=page,
        has_more=len(later) > limit,
        first_id=page[0].name if page else None,
        last_id=page[-1].name if page else None,
    )


def _shape(key: ApiKey) -> KeyOut:
    return KeyOut(
        name=key.name,
        scopes=[each for each in SCOPES if each in key.scopes],
        requests_per_minute=key.requests_per_minute,
        images_per_minute=key.images_per_minute,
        expires=key.expires,
        expired=key.has_expired(datetime.now(UTC)),
    )
