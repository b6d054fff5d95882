"""What stands before a request's body: the key and what it allows, its limits, then a permit."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any, Final, Literal

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from service.api.bodies import check_json_size
from service.api.context import RequestContext, identify
from service.api.errors import NOT_JSON
from service.api.scopes import needed_scope
from service.api.services import Services
from service.errors import InsufficientScopeError, MalformedBodyError, RateLimitedError, UnauthorizedError
from service.keys import ApiKey, Scope, find_key
from service.pipeline.embed import Image

METHODS_WITH_PERMIT: Final = {"POST", "PUT"}


class GuardedRoute(APIRoute):
    """FastAPI parses a body before it asks dependencies: too late for those who have no key or find no permit.

    Calls that carry a body hold a permit until they are answered.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        scopes = {method: needed_scope(method, self.path_format) for method in self.methods or ()}

        async def guarded(request: Request) -> Response:
            services: Services = request.app.state.services
            await admit(request, services, scopes[request.method])
            if request.method not in METHODS_WITH_PERMIT:
                return await handle(request)
            with services.admission.permit():
                return await handle(_StrictRequest(request.scope, request.receive))

        return guarded


class _StrictRequest(Request):
    """Reads JSON as pydantic does: Python's own parser lets half characters (lone surrogates) pass, which nothing can
    encode or store."""

    async def json(self) -> Any:
        body = check_json_size(await self.body())
        try:
            return from_json(body)
        except ValueError as error:
            raise MalformedBodyError(NOT_JSON) from error


async def admit(request: Request, services: Services, scope: Scope) -> None:
    """Raises `UnauthorizedError`, `InsufficientScopeError` or `RateLimitedError`. A server without keys is open."""
    if services.keys is None:
        return
    key = _whose(request, services.keys.keys)
    identify(request, key)
    if not key.allows(scope):
        raise InsufficientScopeError(
            f'The API key "{key.name}" does not have the scope "{scope}", which this call needs. Whoever runs this '
            "server can add it in the keys file.",
            scope=scope,
        )
    await _take(key, "requests", 1, services)


async def take_images(content: Iterable[object], context: RequestContext, services: Services) -> None:
    """Before the images among `content` are worked on. Raises `RateLimitedError` when the caller's key has used up its
    images."""
    count = sum(isinstance(each, Image) for each in content)
    if context.key is not None and count:
        await _take(context.key, "images", count, services)


def _whose(request: Request, keys: tuple[ApiKey, ...]) -> ApiKey:
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    key = find_key(keys, sent.strip())
    if key is None or scheme.lower() != "bearer":
        raise UnauthorizedError("This server wants an API key: send the header `Authorization: Bearer <key>`.")
    if key.expires is not None and key.has_expired(datetime.now(UTC)):
        raise UnauthorizedError(f'The API key "{key.name}" expired at {key.expires.isoformat()}. Ask for a new one.')
    return key


async def _take(key: ApiKey, what: Literal["requests", "images"], amount: int, services: Services) -> None:
    per_minute = key.requests_per_minute if what == "requests" else key.images_per_minute
    if per_minute is None:
        return
    # Another limit is another bucket: what is owed under one that was too low would else be waited for all the same.
    wait_s = await services.rate_limits.take(f"{what}:{key.name}:{per_minute}", amount, per_minute)
    if wait_s > 0:
        services.metrics.keys.rate_limited(key.name, what)
        raise RateLimitedError(
            f'The API key "{key.name}" is limited to {per_minute:,} {what} a minute, and they are used up. Try again '
            "when Retry-After says so.",
            retry_after_s=wait_s,
        )
