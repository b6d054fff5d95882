"""Traces: what a collector receives of requests, and what it never does."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from service.observability import otlp
from service.settings import TracingSettings
from tests.conftest import MakeApp, served
from tests.support.api import classify, classify_call, error_of
from tests.support.collector import Collector, collecting
from tests.support.fitting import PICTURES, Api, pets_on
from tests.support.images import as_base64, jpeg

ROOT = Path(__file__).parents[3]
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def one_round(backbone: str) -> list[str]:
    """Looking up, encoding labels and embedding go on beside each other; this is the order in which they begin."""
    embedding = ["      embed", f"        tower {backbone}_image"]
    labels = ["      labels", f"        tower {backbone}_text"]
    return ["    exits", "    round", "      cache", "      decode", *labels, *embedding, "      controller"]


TREE = ["POST /v1/classify", "  read", "  committee", *one_round("small"), *one_round("large"), "    exits", "  shape"]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVICE_NAME", "RESOURCE_ATTRIBUTES", "TRACES_SAMPLER", "TRACES_SAMPLER_ARG"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def sent_to(collector: Collector) -> TracingSettings:
    return TracingSettings(exporter_otlp_endpoint=collector.url)


@asynccontextmanager
async def pets_cascade(make_app: MakeApp, engine: FakeEngine, collector: Collector) -> AsyncIterator[Api]:
    """With a cascade that half of the pictures leave early; what it took to find that out is not among the spans."""
    async with pets_on(make_app(engine=engine)) as before:
        alone = await before.answers(PICTURES[:16], policy="cascade", min_confidence=0.0)
    scores = sorted(each["exit_score"] for each in alone)
    async with pets_on(make_app(engine=engine, tracing=sent_to(collector))) as api:
        await api.cascade(float(scores[8] + scores[7]) / 2)
        yield api


async def test_a_cascade_is_a_tree_of_rounds_with_every_tower_that_was_asked(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector
) -> None:
    async with pets_cascade(make_app, fake_engine, collector) as api:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "mine"}
        answered = await api.client.post(
            "/v1/classify", json=classify_call(*PICTURES[:16], label_set="pets"), headers=headers
        )
        late = sum(each["exit_reason"] == "last_stage" for each in answered.json()["results"])
    assert collector.tree(TRACE) == TREE
    spans = {span.name: span for span in collector.spans if span.trace == TRACE}
    root = spans["POST /v1/classify"]
    assert (root.parent, root.is_server, root.is_error) == (CALLER, True, False)
    assert answered.headers["traceparent"] == f"00-{TRACE}-{root.id}-01"
    assert root.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/classify",
        "http.response.status_code": 200,
        "quorum.request_id": "mine",
    }
    committee = spans["committee"].attributes
    assert committee["quorum.policy"] == "cascade"
    assert committee["quorum.promised"] is True
    assert (committee["quorum.images"], committee["quorum.stages"]) == (16, 2)
    assert (committee["quorum.exits.confident"], committee["quorum.exits.last_stage"]) == (16 - late, late)
    assert spans["tower large_image"].attributes == {"quorum.tower": "large_image", "quorum.rows": late}
    assert all(span.begun_ns <= span.ended_ns for span in collector.spans)


async def test_what_was_known_is_told_from_what_was_asked(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector
) -> None:
    async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
        await classify(client, jpeg(seed=1))
        await classify(client, jpeg(seed=1))
    fresh, known = [span.attributes for span in collector.spans if span.name == "cache"]
    assert (fresh["quorum.looked_up"], fresh["quorum.hits"]) == (2, 0)
    assert (known["quorum.looked_up"], known["quorum.hits"]) == (2, 2)
    assert sum(span.name == "tower small_image" for span in collector.spans) == 1


async def test_traces_of_requests_at_the_same_time_do_not_mix(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector
) -> None:
    fake_engine.faults.delay_s = {"small_image": 0.05, "large_image": 0.02}

    async def ask(number: int, client: httpx2.AsyncClient) -> str:
        headers = {"traceparent": f"00-{number:032x}-{CALLER}-01"}
        call = classify_call(*[jpeg(seed=1000 + 10 * number + n) for n in range(number)])
        answered = await client.post("/v1/classify", json=call, headers=headers)
        assert answered.status_code == 200
        return f"{number:032x}"

    async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
        traces = await asyncio.gather(*[ask(number, client) for number in range(1, 9)])
    for number, trace in enumerate(traces, start=1):
        mine = [span for span in collector.spans if span.trace == trace]
        ids = {span.id for span in mine}
        assert [span.name for span in mine if span.parent not in ids] == ["POST /v1/classify"]
        rows = [span.attributes["quorum.rows"] for span in mine if span.name == "tower small_image"]
        assert rows == [number]


async def test_a_trace_that_is_not_sampled_stays_so(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector
) -> None:
    async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-00"}
        answered = await client.post("/v1/classify", json=classify_call(jpeg()), headers=headers)
    assert re.fullmatch(rf"00-{TRACE}-(?!{CALLER})[0-9a-f]{{16}}-00", answered.headers["traceparent"])
    assert collector.spans == []


async def test_a_trace_of_our_own_is_sampled_as_the_variables_say(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flags() -> str:
        async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
            return (await client.get("/v1/models")).headers["traceparent"][-2:]

    assert await flags() == "01"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    assert await flags() == "00"
    assert [span.name for span in collector.spans] == ["GET /v1/models"]


@pytest.mark.parametrize(
    "given", ["", "rubbish", f"00-{'0' * 32}-{CALLER}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{CALLER}-01"]
)
async def test_a_trace_that_is_none_is_begun_anew(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector, given: str
) -> None:
    async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
        answered = await client.get("/v1/models", headers={"traceparent": given})
    (span,) = collector.spans
    assert (span.parent, span.trace == TRACE) == ("", False)
    assert answered.headers["traceparent"] == f"00-{span.trace}-{span.id}-01"


async def test_those_who_watch_are_not_traced(make_app: MakeApp, fake_engine: FakeEngine, collector: Collector) -> None:
    async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            answered = await client.get(path, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
            assert answered.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert collector.spans == []


async def test_who_the_spans_are_of_is_said_by_the_variables(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> None:
        async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
            await client.get("/v1/models")

    await ask()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gateway-of-mine")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=gateway-0,service.version=mine")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc")
    await ask()
    plain, told = [span.resource for span in collector.spans]
    assert (plain["service.name"], plain["telemetry.sdk.language"]) == ("quorum", "python")
    assert re.match(r"\d+\.\d+", plain["service.version"])
    assert (told["service.name"], told["service.version"], told["k8s.pod.name"]) == (
        "gateway-of-mine",
        "mine",
        "gateway-0",
    )
    assert collector.headers["x-token"] == "abc"


async def test_failures_are_named_by_their_codes(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret of the implementation")

    fake_engine.faults.failing = {"large_image"}
    app = make_app(engine=fake_engine, tracing=sent_to(collector))
    async with served(app) as client:
        await classify(client, jpeg(seed=2))
        error_of(await client.post("/v1/classify", json=classify_call("rubbish")), 400, "invalid_image")
        monkeypatch.setattr(app.state.services.classifier, "classify", broken)
        error_of(await client.post("/v1/classify", json=classify_call(jpeg())), 500, "internal_error")
    tower = collector.one("tower large_image")
    assert tower.is_error
    assert (tower.attributes["error.type"], tower.attributes["quorum.rows_failed"]) == ("backbone_failed", 1)
    roots = sorted((s for s in collector.spans if s.is_server), key=lambda span: span.begun_ns)
    assert [span.is_error for span in roots] == [False, False, True]
    assert roots[1].attributes["quorum.error"] == "invalid_image"
    assert roots[2].attributes["error.type"] == "500"
    assert "secret" not in str(collector.spans)


async def test_nothing_of_the_caller_is_in_a_span(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector
) -> None:
    secret, image = "xylophone-of-mine", as_base64(jpeg())
    calls: list[dict[str, Any]] = [
        classify_call(image, labels=[secret, "dog"], templates=[f"{secret} {{}}"]),
        classify_call(image[:-8], labels=[secret]),
        classify_call(image, label_set=secret),
        classify_call(image, backbones=[secret]),
    ]
    async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
        for call in calls:
            await client.post("/v1/classify", json=call, headers={"authorization": f"Bearer {secret}"})
        await client.post(f"/v1/classify?labels={secret}", content=jpeg(), headers={"content-type": "image/jpeg"})
        await client.put(f"/v1/label-sets/{secret}", json={"labels": [secret]})
        await client.post("/v1/classify", json=classify_call(image, label_set=secret))
        await client.post("/v1/embeddings", json={"model": "committee", "input": [secret]})
        await client.get(f"/{secret}")
        await client.request(secret.upper(), f"/v1/models/{secret}")
    assert {"POST /v1/classify", "PUT /v1/label-sets/{name}", "GET unrouted", "tower small_text"} <= {
        span.name for span in collector.spans
    }
    written = str(collector.spans)
    assert secret not in written.lower()
    assert image[:64] not in written


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_a_collector_that_is_away_costs_requests_nothing_and_the_log_one_line(
    make_app: MakeApp,
    fake_engine: FakeEngine,
    closed_port: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    app = make_app(engine=fake_engine, tracing=TracingSettings(exporter_otlp_endpoint=closed_port))
    async with served(app) as client:
        for seed in range(30):
            await classify(client, jpeg(seed=seed))
        async with asyncio.timeout(20):
            while not caplog.records:
                await asyncio.sleep(0.05)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < otlp.CLOSE_LIMIT_S + 2
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    (said,) = [line.getMessage() for line in lines if "cannot be delivered" in line.getMessage()]
    assert f"traces cannot be delivered to {closed_port}/v1/traces" in said
    assert "refused" in said
    assert len(lines) <= 3, "that, that the queue was full before it was known, and that the last ones are lost"


@pytest.mark.parametrize(
    "headers",
    [
        {"tracestate": "xylophone of mine"},
        {"tracestate": ",".join(f"k{number}=xylophone" for number in range(40))},
        {"tracestate": "xylophone=1," * 1_000},
        {"traceparent": f"01-{TRACE}-{CALLER}-01-" + "xylophone" * 100},
    ],
    ids=["no pair", "too many", "too long", "an endless parent"],
)
async def test_headers_of_callers_are_never_in_the_log(
    make_app: MakeApp,
    fake_engine: FakeEngine,
    collector: Collector,
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
) -> None:
    async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
        sent = {"traceparent": f"00-{TRACE}-{CALLER}-01"} | headers
        assert (await client.get("/v1/models", headers=sent)).status_code == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    (span,) = collector.spans
    assert (span.trace == TRACE) is ("tracestate" in headers), "what is wrong with the one does not cost the other"


async def test_a_password_in_the_collectors_address_is_never_in_the_log(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 401
    url = collector.url.replace("://", "://quorum:xylophone@")
    async with served(make_app(engine=fake_engine, tracing=TracingSettings(exporter_otlp_endpoint=url))) as client:
        await client.get("/v1/models")
    assert f"cannot be delivered to {collector.url}/v1/traces" in caplog.text
    assert "xylophone" not in caplog.text


async def test_an_outage_and_its_end_are_a_line_each(
    make_app: MakeApp,
    fake_engine: FakeEngine,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="service.observability")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    collector.status = 401
    async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
        for wanted in (1, 2):
            await client.get("/v1/models")
            while collector.calls < wanted:
                await asyncio.sleep(0.02)
        collector.status = 200
        await client.get("/v1/models")
        await asyncio.to_thread(collector.wait_for, 1)
    said = [record.getMessage() for record in caplog.records if record.name == "service.observability.otlp"]
    assert len(said) == 2
    assert "401" in said[0]
    assert "again" in said[1]


async def test_a_collector_that_does_not_answer_holds_up_the_end_for_a_stated_time_alone(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "CLOSE_LIMIT_S", 0.3)
    collector.delay_s = 3.0
    async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
        await client.get("/v1/models")
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 2.0


async def test_lines_of_the_log_carry_the_trace(
    make_app: MakeApp, fake_engine: FakeEngine, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="service")
    async with served(make_app(engine=fake_engine, tracing=sent_to(collector))) as client:
        await client.get("/v1/models")
    (record,) = [record for record in caplog.records if record.name == "service.access"]
    assert vars(record)["trace_id"] == collector.spans[0].trace


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"ENDPOINT": "http://collector:4318"}, "http://collector:4318/v1/traces"),
        ({"ENDPOINT": "http://collector:4318/base/"}, "http://collector:4318/base/v1/traces"),
        ({"TRACES_ENDPOINT": "https://t/x"}, "https://t/x"),
        ({"TRACES_ENDPOINT": "https://t/x", "ENDPOINT": "http://collector:4318"}, "https://t/x"),
        ({"ENDPOINT": ""}, None),
    ],
)
def test_the_address_is_made_as_opentelemetry_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None
) -> None:
    for name in ("ENDPOINT", "TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    assert TracingSettings.from_environment().url == expected
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert TracingSettings.from_environment().url is None


WITHOUT = """
import sys
from service.app import create_app
from service.settings import Settings, TracingSettings
if sys.argv[2:]:
    sys.modules["opentelemetry.sdk.trace"] = None
tracing = TracingSettings.from_environment()
try:
    create_app(Settings(engine="fake", model_repository=sys.argv[1], galleries_url="off"), tracing=tracing)
except Exception as error:
    print(type(error).__name__, error)
heavy = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "service.observability.otlp", "requests")
print([name for name in heavy if name in sys.modules])
"""


def made(repository: Path, tmp_path: Path, *arguments: str, **variables: str) -> list[str]:
    environment = {"QUORUM_STATE_URL": str(tmp_path / "state"), "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", WITHOUT, str(repository), *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_without_an_address_nothing_of_it_is_loaded(fake_repository: Path, tmp_path: Path) -> None:
    assert made(fake_repository, tmp_path) == ["[]"]


def test_a_value_that_the_sdk_refuses_is_one_sentence_at_the_start(fake_repository: Path, tmp_path: Path) -> None:
    wrong = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_BSP_SCHEDULE_DELAY": "-1"}
    said, _ = made(fake_repository, tmp_path, **wrong)
    assert said.startswith("ConfigurationError A variable OTEL_… has a value")
    assert "schedule_delay_millis" in said


def test_without_the_extra_an_address_is_one_sentence_at_the_start(fake_repository: Path, tmp_path: Path) -> None:
    url = "http://127.0.0.1:4318"
    said, _ = made(fake_repository, tmp_path, "without", OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert said.startswith("ConfigurationError Requests are to be traced")
    assert "quorum-serve[tracing]" in said


def test_a_protocol_that_is_not_spoken_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(Exception, match=r"^OTEL_EXPORTER_OTLP_PROTOCOL: .*http/protobuf.*grpc"):
        TracingSettings.from_environment()
