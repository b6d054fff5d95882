"""Who is let in: the key, then a permit, both before a byte of the body is read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, classify_call, error_of
from tests.support.asgi import Caller, Unread, metric
from tests.support.images import as_base64, jpeg
from tests.support.keys import keys_file
from tests.support.state import PETS

KEYS = ("first-key", "second-key")
JSON = {"content-type": "application/json"}
FITTED = ("GET", "PUT", "POST", "DELETE")
GUARDED = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/small"),
    ("GET", "/info"),
    ("GET", "/v1/label-sets"),
    ("GET", "/v1/label-sets/pets"),
    ("DELETE", "/v1/label-sets/pets"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/job_1"),
    ("DELETE", "/v1/jobs/job_1"),
    ("GET", "/v1/keys"),
    ("PUT", "/v1/label-sets/pets"),
    *[(method, f"/v1/label-sets/pets/{kind}") for kind in ("controller", "cascade") for method in FITTED],
    ("POST", "/v1/classify"),
    ("POST", "/zero-shot-image-classification"),
]
WITH_BODY = [call for call in GUARDED if call[0] in ("PUT", "POST")]
OPEN = ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/"]


@pytest.fixture
async def locked(make_app: MakeApp, serve: Serve, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(make_app(api_keys_file=keys_file(tmp_path, *KEYS))) as client:
        yield client


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer first-key,second-key", "Basic first-key"]
)
async def test_without_a_key_nothing_is_told(locked: httpx2.AsyncClient, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    for method, path in GUARDED:
        response = await locked.request(method, path, headers=headers)
        error_of(response, 401, "unauthorized")
        assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
async def test_without_a_key_not_a_byte_is_read(locked: httpx2.AsyncClient, method: str, path: str) -> None:
    error_of(await locked.request(method, path, content=Unread(), headers=JSON), 401, "unauthorized")


@pytest.mark.parametrize("authorization", ["Bearer first-key", "bearer second-key", "BEARER  second-key "])
async def test_every_key_opens(locked: httpx2.AsyncClient, authorization: str) -> None:
    headers = {"authorization": authorization}
    assert (await locked.get("/v1/models", headers=headers)).status_code == 200
    assert (await locked.post("/v1/classify", json=classify_call(jpeg()), headers=headers)).status_code == 200


async def test_those_who_watch_need_no_key(locked: httpx2.AsyncClient) -> None:
    for path in OPEN:
        assert (await locked.get(path)).status_code == 200, path


async def test_without_keys_in_the_settings_everybody_is_let_in(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/models", headers={"authorization": "Bearer anything"})).status_code == 200


@pytest.fixture
async def busy(make_app: MakeApp, serve: Serve, fake_engine: FakeEngine) -> AsyncIterator[httpx2.AsyncClient]:
    """A server with one permit, and one request that holds it for a while."""
    fake_engine.faults.delay_s = {"small_image": 0.3}
    async with serve(make_app(engine=fake_engine, max_inflight_requests=1)) as client:
        first = asyncio.create_task(client.post("/v1/classify", json=classify_call(jpeg())))
        while not fake_engine.calls:
            await asyncio.sleep(0.01)
        yield client
        assert (await first).status_code == 200, "the one who was there first is answered"


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
async def test_a_request_too_many_is_told_when_to_come_back(busy: httpx2.AsyncClient, method: str, path: str) -> None:
    response = await busy.request(method, path, content=Unread(), headers=JSON)
    assert error_of(response, 429, "overloaded")["type"] == "rate_limit_error"
    assert int(response.headers["retry-after"]) >= 1


async def test_a_full_server_is_still_watched_and_listed(busy: httpx2.AsyncClient) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/v1/label-sets"):
        assert (await busy.get(path)).status_code == 200


async def test_retry_after_is_how_long_permits_were_held(
    make_app: MakeApp, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(max_inflight_requests=1)
    admission = app.state.services.admission
    now_s = [0.0]
    monkeypatch.setattr("service.api.admission.time.monotonic", lambda: now_s[0])
    for _ in range(100):
        with admission.permit():
            now_s[0] += 6.5
    monkeypatch.undo()
    async with serve(app) as client:
        with admission.permit():
            response = await client.post("/v1/classify", json=classify_call(jpeg()))
    assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    "content",
    [b"{", json.dumps(classify_call(b"")).encode(), json.dumps(classify_call(jpeg(), label_set="none")).encode()],
)
async def test_a_permit_comes_back_after_an_error(make_app: MakeApp, serve: Serve, content: bytes) -> None:
    async with serve(make_app(max_inflight_requests=1)) as client:
        for _ in range(3):
            response = await client.post("/v1/classify", content=content, headers=JSON)
            assert 400 <= response.status_code < 429
        assert (await client.post("/v1/classify", json=classify_call(jpeg()))).status_code == 200


async def test_a_permit_comes_back_when_a_request_is_cancelled(make_app: MakeApp, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"small_image": 5.0}
    app = make_app(engine=fake_engine, max_inflight_requests=1)
    async with app.router.lifespan_context(app):
        for _ in range(3):
            caller = Caller("POST", "/v1/classify", JSON)
            caller.feed(json.dumps(classify_call(jpeg())).encode())
            fake_engine.calls.clear()
            request = caller.start(app)
            while not fake_engine.calls:
                await asyncio.sleep(0.01)
            request.cancel()
            await request
            assert caller.status == 503
        assert metric(app.state.services.metrics.render().decode(), "quorum_inflight_requests") == 0


async def test_a_permit_comes_back_when_a_caller_hangs_up_in_its_body(make_app: MakeApp) -> None:
    app = make_app(max_inflight_requests=1)
    async with app.router.lifespan_context(app):
        await app.state.services.label_sets.put("pets", PETS)
        for method, path in WITH_BODY * 2:
            caller = Caller(method, path, JSON)
            caller.feed(b'{"labels": [', more=True)
            caller.hang_up()
            await caller.start(app)
            assert caller.status != 429
        text = app.state.services.metrics.render().decode()
    for method, path in WITH_BODY:
        route = path.replace("pets", "{name}")
        assert metric(text, "quorum_requests_total", method=method, route=route, status="499") == 2


async def test_while_it_drains_a_server_answers_and_sends_callers_elsewhere(make_app: MakeApp, serve: Serve) -> None:
    app = make_app()
    async with serve(app) as client:
        before = await client.post("/v1/classify", json=classify_call(jpeg()))
        app.state.services.admission.draining = True
        response = await client.post("/v1/classify", json=classify_call(jpeg()))
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        assert "connection" not in before.headers
        error_of(await client.get("/readyz"), 503, "unavailable")
        assert (await client.get("/healthz")).status_code == 200


async def test_the_alias_holds_a_permit_too(busy: httpx2.AsyncClient) -> None:
    body = {"inputs": as_base64(jpeg()), "parameters": {"candidate_labels": LABELS}}
    error_of(await busy.post("/zero-shot-image-classification", json=body), 429, "overloaded")
