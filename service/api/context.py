"""What is known about a request before anybody reads it, and the middleware that makes it known."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import error_response
from service.deadline import Deadline
from service.errors import InternalError, QuorumError, UnavailableError
from service.keys import ApiKey
from service.observability.metrics.requests import RequestMetrics
from service.observability.tracing import Tracer
from service.timings import Timings
from service.trail import SILENT, Span, on_behalf_of

log = logging.getLogger("service.access")

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
OTHER: Final = "other"
UNROUTED: Final = "unrouted"
NOBODY_WAITS: Final = 499
"""Status in logs and metrics of a request whose caller left before the answer began (nginx's number for it)."""
UNTRACED: Final = {"/healthz", "/readyz", "/metrics"}
"""Asked every few seconds, all day."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """`request_id` is the caller's own if it is well-formed; `trace_id` and `trace_flags` continue its trace. `key` is
    whose the request is, where the server has keys. `span` is silent where nobody traces."""

    request_id: str
    trace_id: str
    trace_flags: str
    span: Span = SILENT
    arrived_s: float = field(default_factory=time.monotonic)
    timings: Timings = field(default_factory=Timings)
    key: ApiKey | None = None

    @classmethod
    def of(cls, headers: Headers, span: Span = SILENT) -> RequestContext:
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        trace = TRACEPARENT.fullmatch(span.traceparent or headers.get("traceparent", ""))
        trace_id, flags = trace.groups() if trace else (secrets.token_hex(16), "00")
        return cls(request_id, trace_id, flags, span)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.arrived_s

    def deadline(self, milliseconds: float) -> Deadline:
        """Counted from the request's arrival: reading the body is part of what the caller waits for."""
        return Deadline(self.arrived_s + milliseconds / 1e3)

    def response_headers(self) -> dict[str, str]:
        timings = f"{self.timings.header()}, " if self.timings.seconds else ""
        made_up = f"00-{self.trace_id}-{secrets.token_hex(8)}-{self.trace_flags}"
        return {
            "x-request-id": self.request_id,
            "traceparent": self.span.traceparent or made_up,
            "server-timing": f"{timings}total;dur={self.elapsed_s * 1e3:.2f}",
        }


def context_of(connection: HTTPConnection) -> RequestContext:
    context = connection.scope["quorum.context"]
    if not isinstance(context, RequestContext):
        raise TypeError("the request context is set by ContextMiddleware and nobody else")
    return context


def identify(connection: HTTPConnection, key: ApiKey) -> None:
    """From here on the request is known to be that key's."""
    connection.scope["quorum.context"] = replace(context_of(connection), key=key)


class ContextMiddleware:
    """Outermost: gives each request its context, its headers, its span, its line in the log and its place in the
    metrics.

    An exception that nobody foresaw ends here as a 500 in the one error shape, with its traceback in the log.
    """

    def __init__(self, app: ASGIApp, *, requests: RequestMetrics, tracer: Tracer, leaving: Callable[[], bool]) -> None:
        """`leaving`: whether callers are to go elsewhere with their next request."""
        self._app = app
        self._requests = requests
        self._tracer = tracer
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        span = SILENT if scope["path"] in UNTRACED else self._tracer.begin(_method(scope), headers)
        context = scope["quorum.context"] = RequestContext.of(headers, span)
        with on_behalf_of(span, request_id=context.request_id, trace_id=context.trace_id):
            await self._handle(scope, receive, send, context)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, context: RequestContext) -> None:
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(context.response_headers())
                if self._leaving():
                    headers["connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            # The drain ran out of time. The task ends here anyway, so the cancellation need not go further.
            if not status:
                await self._error(_cut_off(), context)(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass  # in the middle of its own body
        except Exception:
            log.exception("unhandled exception", extra={"request_id": context.request_id})
            if not status:
                await self._error(_internal(), context)(scope, receive, send_with_headers)
        finally:
            self._account(scope, scope["quorum.context"], status or NOBODY_WAITS)

    def _error(self, error: QuorumError, context: RequestContext) -> ASGIApp:
        self._requests.error(error.code)
        return error_response(error, context.request_id)

    def _account(self, scope: Scope, context: RequestContext, status: int) -> None:
        route, method = getattr(scope.get("route"), "path", UNROUTED), _method(scope)
        self._requests.done(method, route, status, context.elapsed_s, context.timings.seconds)
        context.span.answered(method, route, status)
        context.span.put(request_id=context.request_id, key=None if context.key is None else context.key.name)
        context.span.end()
        log.info(
            "%s %s %d",
            method,
            route,
            status,
            extra={
                "request_id": context.request_id,
                "trace_id": context.trace_id,
                "milliseconds": round(context.elapsed_s * 1e3, 2),
                **({} if context.key is None else {"key": context.key.name}),
            },
        )


def _method(scope: Scope) -> str:
    """Any word may stand there."""
    return scope["method"] if scope["method"] in METHODS else OTHER


def _cut_off() -> QuorumError:
    return UnavailableError("The server shut down before it could answer. Try again.", retry_after_s=1.0)


def _internal() -> QuorumError:
    return InternalError("Something went wrong on our side; it was logged under this request_id.")
