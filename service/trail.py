"""What belongs to the request that is being handled, for logs and traces.

It is known by context (`contextvars`): tasks that a request begins inherit it, other requests' never see it, and no
function has to hand it on. Without a tracer every span is `SILENT`, and costs a look at a variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

Attribute = str | bool | int | float | Sequence[str]
"""Numbers, names of ours and reasons; never what a caller wrote or sent."""

NOTHING: Final[Mapping[str, str]] = {}


class Span(Protocol):
    """A piece of a request's work, from its making until `end`."""

    @property
    def traceparent(self) -> str | None:
        """What tells another service whose child its own work is (W3C Trace Context); None where nobody traces."""

    def child(self, name: str) -> Span: ...

    def put(self, **attributes: Attribute | None) -> None:
        """None is left out."""

    def failed(self, reason: str) -> None:
        """`reason` is an error's code or kind, not its message, which may quote the caller."""

    def answered(self, method: str, route: str, status: int) -> None:
        """Of a request: what it was, now that this is known. Does not end it."""

    def end(self) -> None: ...


class SilentSpan:
    """Records nothing. With a `traceparent` it is of a trace that is not sampled, here and further on."""

    def __init__(self, traceparent: str | None = None) -> None:
        self.traceparent = traceparent

    def child(self, name: str) -> SilentSpan:  # noqa: ARG002  # its children are as silent as itself
        return self

    def put(self, **attributes: Attribute | None) -> None: ...

    def failed(self, reason: str) -> None: ...

    def answered(self, method: str, route: str, status: int) -> None: ...

    def end(self) -> None: ...


SILENT: Final = SilentSpan()

_span: ContextVar[Span] = ContextVar("span", default=SILENT)
_log_fields: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default=NOTHING)


@contextmanager
def on_behalf_of(span: Span, **log_fields: str) -> Iterator[None]:
    """Around the handling of a request: spans are `span`'s children, and lines of the log carry `log_fields`."""
    before = _span.set(span), _log_fields.set(log_fields)
    try:
        yield
    finally:
        _span.reset(before[0])
        _log_fields.reset(before[1])


@contextmanager
def span(name: str, **attributes: Attribute | None) -> Iterator[Span]:
    """A child of the span of this context, which stands in its place meanwhile."""
    parent = _span.get()
    if isinstance(parent, SilentSpan):
        yield parent
        return
    made = parent.child(name)
    made.put(**attributes)
    before = _span.set(made)
    try:
        yield made
    except BaseException as error:
        made.failed(getattr(error, "code", type(error).__name__))
        raise
    finally:
        _span.reset(before)
        made.end()


def current_span() -> Span:
    return _span.get()


def log_fields() -> Mapping[str, str]:
    """What lines of the log say about whose work it is; empty outside of requests."""
    return _log_fields.get()
