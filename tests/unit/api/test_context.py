"""What every answer carries, and what is written down about it."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from service.observability.logs import JsonFormatter
from tests.conftest import MakeApp, Serve
from tests.support.api import classify_call, error_of
from tests.support.asgi import metric
from tests.support.images import as_base64, jpeg

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("given", ["abc", "req-1.2:3_4", "x" * 128])
async def test_a_callers_request_id_comes_back(client: httpx2.AsyncClient, given: str) -> None:
    headers = {"x-request-id": given}
    assert (await client.get("/healthz", headers=headers)).headers["x-request-id"] == given
    error = error_of(await client.get("/nowhere", headers=headers), 404, "not_found")
    assert error["request_id"] == given


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, 'a"b', "ä", "a\tb", "<script>", "a,b"])
async def test_a_request_id_that_could_do_harm_is_replaced(client: httpx2.AsyncClient, given: str) -> None:
    headers = {b"x-request-id": given.encode("latin-1")}
    assert re.fullmatch(r"req_[0-9a-f]{24}", (await client.get("/healthz", headers=headers)).headers["x-request-id"])


async def test_a_callers_trace_goes_on_with_a_span_of_ours(client: httpx2.AsyncClient) -> None:
    given = f"00-{TRACE}-00f067aa0ba902b7-01"
    answered = (await client.get("/healthz", headers={"traceparent": given})).headers["traceparent"]
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", answered)
    assert answered != given


@pytest.mark.parametrize(
    "given",
    [
        "",
        "rubbish",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-01\t",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
    ],
)
async def test_a_trace_that_is_none_is_begun_anew(client: httpx2.AsyncClient, given: str) -> None:
    answered = (await client.get("/healthz", headers={"traceparent": given})).headers["traceparent"]
    found = re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-00", answered)
    assert found
    assert found[1] not in (TRACE, "0" * 32)


async def test_server_timing_names_the_stages_in_milliseconds(client: httpx2.AsyncClient) -> None:
    header = (await client.post("/v1/classify", json=classify_call(jpeg()))).headers["server-timing"]
    assert re.fullmatch(r"\w+;dur=\d+\.\d\d(, \w+;dur=\d+\.\d\d)*", header)
    stages = dict(part.split(";dur=") for part in header.split(", "))
    assert stages.keys() == {"read", "cache", "labels", "decode", "embed", "decide", "shape", "total"}
    assert all(float(duration) <= float(stages["total"]) for duration in stages.values())


async def test_every_answer_has_the_headers_errors_included(client: httpx2.AsyncClient) -> None:
    for path in ("/healthz", "/nowhere", "/v1/models/none", "/metrics", "/", "/playground/none"):
        answer = await client.get(path)
        assert {"x-request-id", "traceparent", "server-timing"} <= answer.headers.keys(), path


async def test_what_nobody_foresaw_is_a_500_that_tells_nothing_and_a_traceback_in_the_log(
    make_app: MakeApp, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret of the implementation")

    app = make_app()
    monkeypatch.setattr(app.state.services.classifier, "classify", broken)
    async with serve(app) as client:
        response = await client.post("/v1/classify", json=classify_call(jpeg()), headers={"x-request-id": "mine"})
        counted = (await client.get("/metrics")).text
    error_of(response, 500, "internal_error")
    assert "secret" not in response.text
    assert metric(counted, "quorum_errors_total", code="internal_error") == 1
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "a secret of the implementation" in JsonFormatter().format(record)
    assert vars(record)["request_id"] == "mine"


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
async def test_images_and_labels_never_reach_the_log(
    client: httpx2.AsyncClient, fake_engine: FakeEngine, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    caplog.set_level(level, logger="service")
    secret, image = "xylophone-of-mine", as_base64(jpeg())
    calls: list[dict[str, Any]] = [
        classify_call(image, labels=[secret, "dog"]),
        classify_call(image[:-8], labels=[secret]),
        classify_call(image, "!", labels=[secret, secret]),
        classify_call(image, labels=[secret], templates=[secret]),
        classify_call(image, label_set=secret),
        classify_call(image, backbones=[secret]),
    ]
    headers = {"x-request-id": "mine", "authorization": f"Bearer {secret}"}
    for call in calls:
        await client.post("/v1/classify", json=call, headers=headers)
        await client.post(f"/v1/classify?labels={secret}", content=jpeg(), headers={"content-type": "image/jpeg"})
    for name in (secret, f"{secret}!"):
        await client.put(f"/v1/label-sets/{name}", json={"labels": [secret], "templates": [f"{{}} {secret}"]})
        await client.get(f"/v1/label-sets/{name}?after={secret}")
        await client.delete(f"/v1/label-sets/{name}")
    await client.get(f"/{secret}")
    fake_engine.faults.failing = {"small_image", "large_image"}
    await client.post("/v1/classify", json=classify_call(as_base64(jpeg(seed=9)), labels=[secret]))
    written = "\n".join(
        JsonFormatter().format(record) for record in caplog.records if record.name.startswith("service")
    )
    assert "mine" in written, "the request id, and nothing else of the caller"
    assert secret not in written
    assert image[:64] not in written


async def test_a_line_of_the_log_says_what_was_asked_and_how_it_ended(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="service")
    headers = {"x-request-id": "mine", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    await client.get("/v1/models/small?key=value", headers=headers)
    (line,) = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert line["message"] == "GET /v1/models/{model_id} 200"
    assert (line["request_id"], line["trace_id"], line["level"]) == ("mine", TRACE, "info")
    assert line["milliseconds"] >= 0


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/label-sets/a/b/c", "/%00", "/\u00e4"])
async def test_an_unknown_address_is_a_404_in_the_one_shape(client: httpx2.AsyncClient, path: str) -> None:
    for method in ("GET", "POST"):
        error_of(await client.request(method, path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/classify", "POST"),
        ("POST", "/v1/models", "GET"),
        ("POST", "/v1/label-sets/pets", "PUT"),
        ("BREW", "/healthz", "GET"),
        ("POST", "/playground/app.js", "GET"),
    ],
)
async def test_a_wrong_method_is_a_405_that_names_the_right_one(
    client: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path)
    error_of(response, 405, "method_not_allowed")
    assert allowed in response.headers["allow"]


@pytest.mark.parametrize("path", ["../app.py", "%2e%2e/app.py", "..%2fapp.py", "/etc/passwd", "%00", "x" * 5_000])
async def test_the_pages_files_are_the_only_ones_served(client: httpx2.AsyncClient, path: str) -> None:
    error_of(await client.get(f"/playground/{path}"), 404, "not_found")
