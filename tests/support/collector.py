"""An OTLP collector in this process: takes spans over HTTP as protobuf, and keeps them to be looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it came; ids in hexadecimal, `parent` empty for none, times in nanoseconds."""

    name: str
    trace: str
    id: str
    parent: str
    begun_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    is_error: bool
    is_server: bool


@dataclass(slots=True)
class Collector:
    """`status` is what it answers, after `delay_s`."""

    url: str = ""
    status: int = 200
    delay_s: float = 0.0
    spans: list[Received] = field(default_factory=list)
    calls: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def wait_for(self, count: int) -> list[Received]:
        """The spans, once there are so many."""
        give_up_s = time.monotonic() + LIMIT_S
        while len(self.spans) < count:
            if time.monotonic() > give_up_s:
                pytest.fail(f"{len(self.spans)} of {count} spans came: {[span.name for span in self.spans]}")
            time.sleep(0.02)
        return self.spans

    def tree(self, trace: str | None = None) -> list[str]:
        """Every span under its parent, indented, in the order in which they began; of one trace or of all."""
        spans = sorted(
            (span for span in self.spans if trace in (None, span.trace)), key=lambda span: (span.begun_ns, span.name)
        )
        known = {span.id for span in spans}

        def under(parent: str | None, depth: int) -> list[str]:
            mine = [s for s in spans if (s.parent == parent if parent is not None else s.parent not in known)]
            return [line for span in mine for line in ["  " * depth + span.name, *under(span.id, depth + 1)]]

        return under(None, 0)

    def one(self, name: str) -> Received:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def take(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(group.resource.attributes)
            self.spans += [_received(span, resource) for scope in group.scope_spans for span in scope.spans]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector, with the address that OTEL_EXPORTER_OTLP_ENDPOINT takes."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(collector.delay_s)
            collector.calls += 1
            collector.headers = dict(self.headers)
            if self.path == "/v1/traces" and collector.status == 200:
                collector.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collector.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _received(span: Span, resource: dict[str, Any]) -> Received:
    return Received(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        begun_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        resource=resource,
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        is_server=span.kind == Span.SPAN_KIND_SERVER,
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
