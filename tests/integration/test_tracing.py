"""A server process that is traced: spans, the log beside them, and an end that no collector holds up."""

from __future__ import annotations

import json
import time

import httpx2
import pytest

from tests.conftest import free_port
from tests.integration.test_serve import serving
from tests.support.api import classify_call
from tests.support.collector import collecting
from tests.support.images import jpeg

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALL = classify_call(jpeg())


def test_a_request_is_found_again_in_the_traces_and_in_the_log(environment: dict[str, str]) -> None:
    with collecting() as collector, serving(environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}) as server:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "mine"}
        answered = httpx2.post(f"{server.url}/v1/classify", json=CALL, headers=headers)
        httpx2.get(f"{server.url}/readyz")
        began_s = time.monotonic()
        status, log = server.stop()
        assert time.monotonic() - began_s < 15, "what was not sent yet is sent at once, and nobody waits for more"
    assert (answered.status_code, status) == (200, 0)
    root = collector.one("POST /v1/classify")
    assert (root.trace, root.parent, root.attributes["quorum.request_id"]) == (TRACE, CALLER, "mine")
    assert answered.headers["traceparent"] == f"00-{TRACE}-{root.id}-01"
    assert {"read", "committee", "round", "tower small_image", "tower large_image", "controller", "shape"} <= {
        span.name for span in collector.spans
    }
    assert {span.trace for span in collector.spans} == {TRACE}
    lines = [json.loads(line) for line in log.splitlines()]
    (line,) = [line for line in lines if line["message"] == "POST /v1/classify 200"]
    assert (line["request_id"], line["trace_id"]) == ("mine", TRACE)
    assert not [line for line in lines if line["level"] in ("warning", "error")]


def test_a_collector_that_is_away_is_a_line_of_the_log_and_no_more(environment: dict[str, str]) -> None:
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with serving(environment | away) as server, httpx2.Client(base_url=server.url) as client:
        statuses = {client.post("/v1/classify", json=CALL).status_code for _ in range(20)}
        began_s = time.monotonic()
        status, log = server.stop()
        took_s = time.monotonic() - began_s
    assert (statuses, status) == ({200}, 0)
    assert took_s < 15
    complaints = [json.loads(line) for line in log.splitlines() if json.loads(line)["level"] in ("warning", "error")]
    assert {line["logger"] for line in complaints} == {"service.observability.otlp"}
    assert len(complaints) <= 2


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "OTEL_EXPORTER_OTLP_ENDPOINT: "),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL: "),
    ],
)
def test_a_wrong_variable_is_one_sentence_at_the_start(
    environment: dict[str, str], variable: str, value: str, said: str
) -> None:
    address = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    with serving(environment | address | {variable: value}) as server:
        _, stderr = server.process.communicate(timeout=30)
    assert server.process.returncode == 3
    assert stderr.startswith(f"quorum cannot start: {said}")
    assert stderr.count("\n") == 1
