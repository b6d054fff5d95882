"""Health, readiness and metrics, for those who watch."""

from __future__ import annotations

import re

import httpx2
import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, classify, classify_call, error_of
from tests.support.asgi import metric
from tests.support.images import jpeg

SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")


async def scraped(client: httpx2.AsyncClient) -> str:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return response.text


def series(text: str) -> set[tuple[str, str]]:
    """(name, labels) of every sample."""
    found = [SAMPLE.fullmatch(line) for line in text.splitlines() if not line.startswith("#")]
    return {(sample["name"], sample["labels"] or "") for sample in found if sample}


async def test_a_sound_process_is_alive_and_ready(client: httpx2.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_dead_worker_turns_health_and_readiness_red(
    client: httpx2.AsyncClient, fake_engine: FakeEngine
) -> None:
    fake_engine.faults.dead = {"small_image"}
    for path in ("/healthz", "/readyz"):
        assert "small_image" in error_of(await client.get(path), 503, "unavailable")["message"]
    assert "small_image" in (await client.get("/info")).json()["problems"][0]


async def test_a_process_that_has_not_started_is_alive_but_not_ready(make_app: MakeApp) -> None:
    transport = httpx2.ASGITransport(make_app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        error_of(await client.get("/readyz"), 503, "unavailable")
        assert (await client.get("/healthz")).status_code == 200


async def test_what_happened_is_counted(client: httpx2.AsyncClient) -> None:
    await classify(client, jpeg(seed=1), b"broken")
    await classify(client, jpeg(seed=1))
    await client.post("/v1/classify", json={})
    await client.get("/nowhere")
    text = await scraped(client)
    asked = {"method": "POST", "route": "/v1/classify"}
    assert metric(text, "quorum_requests_total", **asked, status=200) == 2
    assert metric(text, "quorum_requests_total", **asked, status=422) == 1
    assert metric(text, "quorum_requests_total", method="GET", route="unrouted", status=404) == 1
    assert metric(text, "quorum_request_seconds_count", route="/v1/classify") == 3
    assert metric(text, "quorum_images_total", exit_reason="last_stage") == 2
    assert metric(text, "quorum_errors_total", code="invalid_image") == 1
    assert metric(text, "quorum_errors_total", code="invalid_request") == 1
    assert metric(text, "quorum_gflops_total") == pytest.approx(1.75)
    assert metric(text, "quorum_inflight_requests") == 0
    assert metric(text, "quorum_stage_seconds_count", stage="decode") >= 2


async def test_the_cache_and_the_batches_are_counted(make_app: MakeApp, serve: Serve) -> None:
    async with serve(make_app(engine="onnx")) as client:
        before = await scraped(client)
        await classify(client, jpeg())
        fresh = await scraped(client)
        await classify(client, jpeg())
        known = await scraped(client)

    def hits(text: str) -> float:
        return metric(text, "quorum_cache_lookups_total", result="hit")

    assert (hits(fresh) - hits(before), hits(known) - hits(fresh)) == (0, 2)
    for tower in ("small_image", "large_text"):
        assert metric(known, "quorum_batch_rows_count", tower=tower) >= 1
        assert metric(known, "quorum_batch_seconds_count", tower=tower) >= 1
        assert metric(known, "quorum_queue_seconds_count", tower=tower) >= 1


async def test_names_say_what_is_counted_and_in_which_unit(client: httpx2.AsyncClient) -> None:
    await classify(client, jpeg(), b"broken")
    families = re.findall(r"^# TYPE (\w+) (\w+)$", await scraped(client), re.MULTILINE)
    assert families
    for name, kind in families:
        assert name.startswith("quorum_")
        assert name.endswith("_total") == (kind == "counter" and not name.endswith("_created"))
        assert not re.search(r"_(ms|milliseconds|time|latency)$", name)


async def test_no_caller_can_add_a_series(client: httpx2.AsyncClient) -> None:
    """Two of everything that callers choose; the second finds every series there."""

    async def everything(word: str) -> None:
        headers = {"x-request-id": f"request-{word}"}
        await client.put(f"/v1/label-sets/set-{word}", json={"labels": [word, "dog"]}, headers=headers)
        await client.get(f"/v1/label-sets/set-{word}", headers=headers)
        await client.get(f"/v1/models/{word}", headers=headers)
        await classify(client, jpeg(seed=len(word)), label_set=f"set-{word}")
        await classify(client, jpeg(seed=len(word)), labels=[*LABELS, word])
        await client.post("/v1/classify", json=classify_call(jpeg(), backbones=[word]), headers=headers)
        await client.delete(f"/v1/label-sets/set-{word}", headers=headers)
        await client.get(f"/{word}", headers=headers)
        await client.get(f"/playground/{word}", headers=headers)
        await client.request(word.upper(), f"/{word}", headers=headers)
        await client.request(word.upper(), "/v1/classify", headers=headers)

    await scraped(client)  # is a request itself
    await everything("alpha")
    first = series(await scraped(client))
    await everything("beta")
    assert series(await scraped(client)) == first
    assert not [labels for _, labels in first if "alpha" in labels.lower() or "dog" in labels]
