"""How long the stages of one request took, for the `Server-Timing` header, the metrics and traces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.trail import Attribute, SilentSpan, Span, current_span, span


@dataclass(slots=True)
class Timings:
    """Seconds by stage, in the order in which stages were first entered; repeated stages add up."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str, *, part: str | None = None, **attributes: Attribute | None) -> Iterator[Span]:
        """The stage's time, and a span of it. Traces call it `part` where that says more."""
        started_s = time.perf_counter()
        try:
            if isinstance(parent := current_span(), SilentSpan):  # as `span` does, without another context manager
                yield parent
            else:
                with span(part or stage, **attributes) as found:
                    yield found
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started_s

    def header(self) -> str:
        """The value of a `Server-Timing` header; durations are in milliseconds there (W3C Server Timing)."""
        return ", ".join(f"{stage};dur={seconds * 1e3:.2f}" for stage, seconds in self.seconds.items())
