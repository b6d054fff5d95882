"""What stands before a request's body: the key, then a permit."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from service.api.bodies import check_json_size
from service.api.errors import NOT_JSON
from service.api.services import Services
from service.errors import MalformedBodyError, UnauthorizedError

METHODS_WITH_PERMIT: Final = {"POST", "PUT"}


class GuardedRoute(APIRoute):
    """FastAPI parses a body before it asks dependencies: too late for those who have no key or find no permit.

    Calls that carry a body hold a permit until they are answered.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            services: Services = request.app.state.services
            check_key(request, services)
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


def check_key(request: Request, services: Services) -> None:
    """Every key is compared in constant time, and all of them always, so that timing tells nothing."""
    keys = [key.get_secret_value().encode() for key in services.settings.api_keys]
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    matches = [hmac.compare_digest(sent.strip().encode(), key) for key in keys]
    if keys and not (scheme.lower() == "bearer" and any(matches)):
        raise UnauthorizedError("This server wants an API key: send the header `Authorization: Bearer <key>`.")
