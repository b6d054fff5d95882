"""The one shape of every error, and how foreign errors are brought into it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.api.schemas import UNKNOWN_FIELD, ErrorBody, ErrorEnvelope
from service.errors import (
    BodyTimeoutError,
    InsufficientScopeError,
    InvalidRequestError,
    MalformedBodyError,
    MethodNotAllowedError,
    NotFoundError,
    QuorumError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
)
from service.trail import current_span

FOREIGN = {404: NotFoundError, 405: MethodNotAllowedError}
NOT_JSON = "The body is not valid JSON. Check quotes, commas and brackets."
MAX_CHARACTERS = 1_000
"""Of a message: it may quote the request, and a request may be large."""
UNION_MEMBERS = {"list[str]", "dict[str,list[str]]", "str"}
"""What pydantic puts into the path of an error when a field may be several things; no caller wrote that."""


def error_body(error: QuorumError, request_id: str) -> ErrorBody:
    return ErrorBody(
        message=_presentable(error.message),
        type=error.type,
        param=error.param and _presentable(error.param),
        code=error.code,
        request_id=request_id,
    )


def error_response(error: QuorumError, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    headers = dict(headers or {})
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = 'Bearer realm="quorum"'
    if isinstance(error, InsufficientScopeError):  # RFC 6750, section 3.1
        headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{error.scope}"'
    if isinstance(error, BodyTimeoutError):
        headers["Connection"] = "close"  # the rest of that body must not be read as the next request
    content = ErrorEnvelope(error=error_body(error, request_id)).model_dump_json()
    return Response(content, error.status, headers, "application/json")


def invalid_request(errors: Sequence[Mapping[str, Any]]) -> QuorumError:
    """The most exact of pydantic's errors in our words; `param` is the path to the field, as in `images[0].data`."""
    # Of a field that may be several things, every one of them complains; the deepest path is what the caller meant.
    first = max(errors, key=lambda error: len(error["loc"]))
    path = [part for part in first["loc"] if part not in UNION_MEMBERS]
    if first["type"] == "json_invalid":
        return MalformedBodyError(NOT_JSON)
    if first["type"] == UNKNOWN_FIELD:
        path.append(first["ctx"]["field"])
    param = _path_text(path) or None
    message = str(first["msg"]).removeprefix("Value error, ")
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    text = f"{param}: {message}" if param else message[:1].upper() + message[1:]
    return InvalidRequestError(f"{text}.{more}", param=param)


def _presentable(text: str) -> str:
    """What UTF-8 can say of it (a multipart body's charset may make half characters), and not too much."""
    return text[:MAX_CHARACTERS].encode(errors="replace").decode()


def _path_text(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def install_error_handlers(app: FastAPI) -> None:
    """Map every exception that FastAPI and Starlette raise; the middleware catches the rest."""

    def respond(request: Request, error: QuorumError, headers: Mapping[str, str] | None = None) -> Response:
        app.state.services.metrics.requests.error(error.code)
        current_span().put(error=error.code)
        return error_response(error, request.scope["quorum.context"].request_id, headers)

    @app.exception_handler(QuorumError)
    async def known(request: Request, error: QuorumError) -> Response:
        return respond(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # FastAPI puts where a value came from in front of its path.
        errors = [{**each, "loc": each["loc"][1:]} for each in error.errors()]
        if error.errors()[0]["loc"] == ("body",) and not _says_json(request):
            return respond(request, UnsupportedMediaTypeError("Send JSON, with Content-Type: application/json."))
        return respond(request, invalid_request(errors))

    @app.exception_handler(HTTPException)
    async def foreign(request: Request, error: HTTPException) -> Response:
        # FastAPI wraps what a body's stream raises, our own limits included.
        if isinstance(error.__cause__, QuorumError):
            return respond(request, error.__cause__)
        if isinstance(error.__cause__, ClientDisconnect):
            raise error.__cause__
        kind = FOREIGN.get(error.status_code, MalformedBodyError)
        phrase = HTTPStatus(error.status_code).phrase
        message = f"{phrase}: {request.method} {request.url.path}. See /docs for what there is."
        return respond(request, kind(message), error.headers)


def _says_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
