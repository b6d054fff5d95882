"""Bounds on a request's body while it arrives: bytes, and the time a caller may take to send them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.deadline import Deadline
from service.errors import BodyTimeoutError, PayloadTooLargeError, QuorumError


@dataclass(frozen=True, slots=True)
class BodyLimit:
    max_bytes: int
    timeout_s: float


class BodyLimitMiddleware:
    """Raises out of `receive`, so whoever reads the body stops there; nothing is buffered here."""

    def __init__(self, app: ASGIApp, *, limit: BodyLimit, special: Sequence[tuple[re.Pattern[str], BodyLimit]]) -> None:
        """`special` limits are for calls whose whole path matches, `limit` is for all others."""
        self._app = app
        self._limit = limit
        self._special = special

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        # isdecimal, since isdigit holds for "²"; cut, since int() refuses thousands of digits. What arrives is counted.
        declared_bytes = int(declared[:20]) if declared.isdecimal() else 0
        matching = (limit for pattern, limit in self._special if pattern.fullmatch(scope["path"]))
        limit = next(matching, self._limit)
        deadline = Deadline.after(limit.timeout_s)
        received_bytes, complete = 0, False

        async def bounded() -> Message:
            nonlocal received_bytes, complete
            if complete:  # what follows is the wait for a disconnect, which may take as long as the answer does
                return await receive()
            if declared_bytes > limit.max_bytes:
                raise _too_large(limit)
            try:
                async with asyncio.timeout(deadline.remaining_s):
                    message = await receive()
            except TimeoutError as error:
                raise _too_slow(limit) from error
            received_bytes += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received_bytes > limit.max_bytes:
                raise _too_large(limit)
            return message

        await self._app(scope, bounded, send)


def _too_large(limit: BodyLimit) -> QuorumError:
    return PayloadTooLargeError(
        f"The body is larger than {limit.max_bytes:,} bytes. Send fewer or smaller images per request."
    )


def _too_slow(limit: BodyLimit) -> QuorumError:
    return BodyTimeoutError(f"The body did not arrive within {limit.timeout_s:g} s.")
