"""Traces by OpenTelemetry's SDK, delivered over OTLP (HTTP, protobuf). Imported only where they are wanted.

Nothing of it is global: other libraries in the process neither find this tracer nor are traced by it. What the
variables `OTEL_…` say of sampling, resource, limits, queue and delivery is read by the SDK itself.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace import Tracer as SdkTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.trail import Attribute, SilentSpan, Span

log = logging.getLogger(__name__)

SCOPE: Final = "quorum"
CLOSE_LIMIT_S: Final = 3.0
"""For delivering the last spans. A collector that is away must not hold up the end of the process."""

EXPORTER_LOG: Final = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
"""Has several lines for every batch that cannot be delivered."""
QUEUE_LOG: Final = logging.getLogger("opentelemetry.sdk._shared_internal")
"""Says now and then that spans are dropped, which goes without saying while they cannot be delivered."""

MAX_TRACEPARENT: Final = 512
MAX_TRACESTATE: Final = 8_192
MAX_MEMBERS: Final = 32
MEMBER: Final = re.compile(
    r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
"""Of a `tracestate`: W3C Trace Context, section 3.3.1.3."""


class OtlpTracer:
    def __init__(self, url: str, version: str) -> None:
        """`url` is where spans are sent to, its path included; `version` is of the service."""
        self._delivery = Delivery(url)
        self._provider = TracerProvider(resource=_resource(version), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._delivery))
        self._tracer = self._provider.get_tracer(SCOPE, version)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, method: str, headers: Mapping[str, str]) -> Span:
        # Its name is the method until the route is known: a path may hold a caller's words.
        span = self._tracer.start_span(method, self._propagator.extract(_sound(headers)), SpanKind.SERVER)
        return OtlpSpan(self._tracer, span) if span.is_recording() else SilentSpan(_traceparent(span))

    async def close(self) -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def deliver() -> None:
            self._provider.shutdown()
            self._delivery.fall_silent()
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        # A thread of its own, which nobody waits for: a loop that is closed waits for those of its executor.
        threading.Thread(target=deliver, name="last traces", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await done.wait()
        except TimeoutError:
            log.warning("the last traces could not be delivered in time and are lost")
        self._delivery.shutdown()  # which ends a delivery that still goes on


class OtlpSpan:
    def __init__(self, tracer: SdkTracer, span: SdkSpan) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def traceparent(self) -> str | None:
        return _traceparent(self._span)

    def child(self, name: str) -> OtlpSpan:
        return OtlpSpan(self._tracer, self._tracer.start_span(name, set_span_in_context(self._span)))

    def put(self, **attributes: Attribute | None) -> None:
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(f"{SCOPE}.{name}", value)

    def failed(self, reason: str) -> None:
        self._span.set_attribute("error.type", reason)
        self._span.set_status(StatusCode.ERROR)

    def answered(self, method: str, route: str, status: int) -> None:
        """In the words of OpenTelemetry's conventions for HTTP servers, where a caller's mistake is no error."""
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        )
        if status >= 500:
            self.failed(str(status))

    def end(self) -> None:
        self._span.end()


class Delivery(SpanExporter):
    """Sends spans, from a thread of the SDK's. An outage is one line in the log, and so is its end."""

    def __init__(self, url: str) -> None:
        self._place = _without_secrets(url)
        self._exporter = OTLPSpanExporter(endpoint=url)
        self._away = False
        self._reason = ""
        self._thread: int | None = None
        self._ended = False
        EXPORTER_LOG.addFilter(self._keep_reason)
        QUEUE_LOG.addFilter(self._is_news)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._thread = threading.get_ident()
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            log.warning(
                "traces cannot be delivered to %s, and are dropped until they can: %s", self._place, self._reason
            )
        elif self._away and not away:
            log.info("traces are delivered to %s again", self._place)
        self._away = away
        self._reason = ""
        return result

    def shutdown(self) -> None:
        if not self._ended:
            self._ended = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations there

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def fall_silent(self) -> None:
        """Once nothing is delivered any more."""
        EXPORTER_LOG.removeFilter(self._keep_reason)
        QUEUE_LOG.removeFilter(self._is_news)

    def _keep_reason(self, record: logging.LogRecord) -> bool:
        """The first complaint about a batch tells most; the line that is logged is ours."""
        if record.thread != self._thread:
            return True  # of another application in this process
        self._reason = self._reason or record.getMessage()
        return False

    def _is_news(self, _: logging.LogRecord) -> bool:
        return not self._away


def _sound(headers: Mapping[str, str]) -> dict[str, str]:
    """What the SDK reads without a complaint: those quote the header in the log, and any caller can send one."""
    parent, state = headers.get("traceparent", ""), headers.get("tracestate", "")
    if len(parent) > MAX_TRACEPARENT:
        return {}
    members = [member for each in state[: MAX_TRACESTATE + 1].split(",") if (member := each.strip(" \t"))]
    sound = len(state) <= MAX_TRACESTATE and len(members) <= MAX_MEMBERS and all(map(MEMBER.fullmatch, members))
    return {"traceparent": parent, "tracestate": state} if sound else {"traceparent": parent}


def _without_secrets(url: str) -> str:
    """A collector's address for the log, which a password may stand in."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _resource(version: str) -> Resource:
    """What the environment says of this process goes before what is known here."""
    known = Resource({SERVICE_NAME: SCOPE, SERVICE_VERSION: version}).merge(OTELResourceDetector().detect())
    return Resource.create(known.attributes)


def _traceparent(span: SdkSpan) -> str:
    context = span.get_span_context()
    # The lowest bit alone: what the others mean differs between versions of the standard.
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
