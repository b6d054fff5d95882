"""Who follows requests through this process: nobody, unless the composition root says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from service.trail import SILENT, Span


class Tracer(Protocol):
    def begin(self, method: str, headers: Mapping[str, str]) -> Span:
        """The span of a request that has just arrived; it continues the caller's trace, if `headers` carry one."""

    async def close(self) -> None:
        """Deliver what was recorded, as far as that takes no longer than a moment."""


class NoTracer:
    def begin(self, method: str, headers: Mapping[str, str]) -> Span:  # noqa: ARG002  # nobody looks at them
        return SILENT

    async def close(self) -> None: ...
