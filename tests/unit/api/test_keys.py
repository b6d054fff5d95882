"""What keys may do: their scopes, their limits, their end; and that they stay secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.api.scopes import NEEDED
from service.errors import ConfigurationError
from service.keys import SCOPES, Scope, digest_of
from service.observability.logs import JsonFormatter
from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, classify_call, error_of
from tests.support.asgi import Unread, metric
from tests.support.embeddings import data_uri
from tests.support.images import as_base64, jpeg
from tests.support.keys import api_key, bearer, keys_file

Locked = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]
PARAMETERS = {"name": "pets", "model_id": "small", "job_id": "job_1"}
CALLS = [(method, path, scope) for path, methods in NEEDED.items() for method, scope in methods.items()]
JSON = {"content-type": "application/json"}


@pytest.fixture
def locked(make_app: MakeApp, serve: Serve, tmp_path: Path) -> Locked:
    """A server with these keys."""
    return lambda *keys, **settings: serve(make_app(api_keys_file=keys_file(tmp_path, *keys), **settings))


@pytest.mark.parametrize("held", SCOPES)
async def test_a_scope_opens_its_calls_and_those_below_alone(locked: Locked, held: Scope) -> None:
    async with locked(api_key("k", held)) as client:
        for method, path, needed in CALLS:
            response = await client.request(method, path.format(**PARAMETERS), headers=bearer("k"))
            if SCOPES.index(held) >= SCOPES.index(needed):
                assert response.status_code not in (401, 403), (method, path, response.text)
                continue
            message = error_of(response, 403, "insufficient_scope")["message"]
            assert f'"{needed}"' in message
            assert response.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{needed}"'


async def test_without_the_scope_not_a_byte_is_read(locked: Locked) -> None:
    async with locked(api_key("k", "read")) as client:
        response = await client.put("/v1/label-sets/pets", content=Unread(), headers=JSON | bearer("k"))
        assert error_of(response, 403, "insufficient_scope")["type"] == "permission_error"


async def test_a_key_that_is_over_is_refused_with_the_reason(locked: Locked) -> None:
    over = api_key("over", expires=datetime.now(UTC) - timedelta(seconds=1))
    async with locked(over, api_key("good", expires=datetime.now(UTC) + timedelta(hours=1))) as client:
        response = await client.get("/v1/models", headers=bearer("over"))
        assert "expired" in error_of(response, 401, "unauthorized")["message"]
        assert (await client.get("/v1/models", headers=bearer("good"))).status_code == 200


async def test_a_key_that_is_added_opens_and_one_that_is_removed_does_not(
    locked: Locked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.keys_file.LOOK_EVERY_S", 0.0)
    async with locked("old") as client:
        error_of(await client.get("/v1/models", headers=bearer("new")), 401, "unauthorized")
        keys_file(tmp_path, "new")
        assert (await client.get("/v1/models", headers=bearer("new"))).status_code == 200
        error_of(await client.get("/v1/models", headers=bearer("old")), 401, "unauthorized")
        (tmp_path / "keys.toml").write_text("[[key]]\n")
        assert (await client.get("/v1/models", headers=bearer("new"))).status_code == 200
        assert metric((await client.get("/metrics")).text, "quorum_keys_current") == 0


async def test_a_server_does_not_start_on_a_broken_keys_file(make_app: MakeApp, tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text('[[key]]\nname = "web"\n')
    with pytest.raises(ConfigurationError, match=r"keys\.toml, line 1 .*sha256"):
        make_app(api_keys_file=tmp_path / "keys.toml")


async def test_admins_see_who_may_do_what_and_no_digest(locked: Locked) -> None:
    until = datetime(2100, 1, 1, tzinfo=UTC)
    keys = [
        api_key("zoe", "write", "read", name="z", images_per_minute=5, expires=until),
        api_key("boss", name="b"),
        api_key("over", name="a", expires=datetime(2020, 1, 1, tzinfo=UTC)),
    ]
    async with locked(*keys) as client:
        first = await client.get("/v1/keys", params={"limit": 2}, headers=bearer("boss"))
        rest = await client.get("/v1/keys", params={"after": first.json()["last_id"]}, headers=bearer("boss"))
    assert [(each["name"], each["expired"]) for each in first.json()["data"]] == [("a", True), ("b", False)]
    assert (first.json()["has_more"], rest.json()["has_more"]) == (True, False)
    assert rest.json()["data"] == [
        {
            "name": "z",
            "scopes": ["read", "write"],
            "requests_per_minute": None,
            "images_per_minute": 5,
            "expires": "2100-01-01T00:00:00Z",
            "expired": False,
        }
    ]
    assert not [key for key in keys if key.digest.hex() in first.text + rest.text]


async def test_a_server_without_keys_lists_none(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/keys")).json()["data"] == []


async def test_the_log_names_the_key_and_never_holds_it(locked: Locked, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with locked(api_key("the-secret", "read", name="web", requests_per_minute=1)) as client:
            answers = [await client.get(path, headers=bearer("the-secret")) for path in ("/info", "/v1/keys", "/info")]
            answers.append(await client.get("/info", headers=bearer("the-secret-of-another")))
    assert [answer.status_code for answer in answers] == [200, 403, 429, 401]
    lines = [JsonFormatter().format(record) for record in caplog.records]
    access = [json.loads(line) for line in lines if json.loads(line)["logger"] == "service.access"]
    assert [line.get("key") for line in access] == ["web", "web", "web", None]
    shown = "\n".join(lines) + "".join(answer.text + str(answer.headers) for answer in answers)
    assert "the-secret" not in shown
    assert digest_of("the-secret").hex() not in shown


async def test_one_call_too_many_waits_for_as_long_as_it_is_told(locked: Locked) -> None:
    async with locked(api_key("k", "read", requests_per_minute=2), "other") as client:
        for _ in range(2):
            assert (await client.get("/v1/models", headers=bearer("k"))).status_code == 200
        response = await client.post("/v1/classify", content=Unread(), headers=JSON | bearer("k"))
        error = error_of(response, 429, "rate_limited")
        assert error["type"] == "rate_limit_error"
        assert "2 requests a minute" in error["message"]
        assert 10 <= int(response.headers["retry-after"]) <= 30
        assert (await client.get("/v1/models", headers=bearer("other"))).status_code == 200
        text = (await client.get("/metrics")).text
    assert metric(text, "quorum_rate_limited_total", key="k", limit="requests") == 1


def image_calls() -> dict[str, tuple[str, dict[str, Any]]]:
    """Calls with two images each."""
    a, b = jpeg(seed=1), jpeg(seed=2)
    images = [{"data": as_base64(a)}, {"data": as_base64(b)}]
    items = [{"id": "a", "image": images[0]}, {"id": "b", "image": images[1]}, {"id": "c", "text": "no image"}]
    queries = [{"image": as_base64(a)}, {"mix": [{"text": "a"}, {"image": as_base64(b)}]}]
    examples = [{"data": as_base64(a), "label": "cat"}, {"data": as_base64(b), "label": "dog"}]
    return {
        "classify": ("/v1/classify", classify_call(a, b)),
        "embeddings": ("/v1/embeddings", {"model": "small", "input": ["text", data_uri(a), data_uri(b)]}),
        "items": ("/v1/galleries/g/items", {"items": items}),
        "search": ("/v1/galleries/g/search", {"queries": queries}),
        "controller": ("/v1/label-sets/pets/controller", {"examples": examples}),
        "cascade": ("/v1/label-sets/pets/cascade", {"images": images, "epsilon": 0.5, "delta": 0.5}),
    }


@pytest.mark.parametrize("call", image_calls())
async def test_images_are_counted_wherever_they_are_sent(locked: Locked, call: str) -> None:
    path, body = image_calls()[call]
    async with locked(api_key("k", images_per_minute=2), "free") as client:
        await client.put("/v1/galleries/g", json={}, headers=bearer("free"))
        await client.put("/v1/label-sets/pets", json={"labels": ["cat", "dog"]}, headers=bearer("free"))
        first = await client.post(path, json=body, headers=bearer("k"))
        assert first.status_code in (200, 202), first.text
        second = await client.post(path, json=body, headers=bearer("k"))
        assert "2 images a minute" in error_of(second, 429, "rate_limited")["message"]
        assert (await client.post(path, json=body, headers=bearer("free"))).status_code in (200, 202)
        assert (await client.get("/v1/models", headers=bearer("k"))).status_code == 200


async def test_the_alias_counts_its_image_too(locked: Locked) -> None:
    body = {"inputs": as_base64(jpeg()), "parameters": {"candidate_labels": LABELS}}
    async with locked(api_key("k", images_per_minute=1)) as client:
        answers = [await client.post("/zero-shot-image-classification", json=body, headers=bearer("k")) for _ in "12"]
    assert [answer.status_code for answer in answers] == [200, 429]


async def test_a_batch_beyond_the_limit_is_answered_and_waited_for_afterwards(locked: Locked) -> None:
    async with locked(api_key("k", images_per_minute=2)) as client:
        batch = classify_call(*[jpeg(seed=seed) for seed in range(6)])
        assert (await client.post("/v1/classify", json=batch, headers=bearer("k"))).status_code == 200
        response = await client.post("/v1/classify", json=classify_call(jpeg()), headers=bearer("k"))
        error_of(response, 429, "rate_limited")
        assert 120 <= int(response.headers["retry-after"]) <= 150, "four images too many, and the one that is asked for"


async def test_another_limit_is_not_bound_by_what_is_owed_under_the_one_before(
    locked: Locked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.keys_file.LOOK_EVERY_S", 0.0)
    async with locked(api_key("k", images_per_minute=1)) as client:
        batch = classify_call(*[jpeg(seed=seed) for seed in range(6)])
        assert (await client.post("/v1/classify", json=batch, headers=bearer("k"))).status_code == 200
        refused = await client.post("/v1/classify", json=batch, headers=bearer("k"))
        assert int(refused.headers["retry-after"]) > 240
        keys_file(tmp_path, api_key("k", images_per_minute=100))
        assert (await client.post("/v1/classify", json=batch, headers=bearer("k"))).status_code == 200


async def test_a_call_without_images_costs_none(locked: Locked) -> None:
    async with locked(api_key("k", images_per_minute=1)) as client:
        for _ in range(3):
            body = {"model": "small", "input": ["a text"]}
            assert (await client.post("/v1/embeddings", json=body, headers=bearer("k"))).status_code == 200
