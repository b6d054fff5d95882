"""Hugging Face's call as an alias of ours."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, classify_one, error_of, probabilities
from tests.support.asgi import metric
from tests.support.images import as_base64, jpeg, png_header_of

URL = "/zero-shot-image-classification"
IMAGE = as_base64(jpeg())


def call(inputs: str = IMAGE, **parameters: Any) -> dict[str, Any]:
    return {"inputs": inputs, "parameters": {"candidate_labels": LABELS, **parameters}}


@pytest.mark.parametrize("labels", [LABELS, ",".join(LABELS), " cat , dog,teapot "])
@pytest.mark.parametrize("inputs", [IMAGE, f"data:image/jpeg;base64,{IMAGE}"])
async def test_it_answers_what_classify_answers(client: httpx2.AsyncClient, labels: object, inputs: str) -> None:
    answer = (await client.post(URL, json=call(inputs, candidate_labels=labels))).json()
    ours = await classify_one(client, jpeg(), templates=["This is a photo of {}."])
    assert {each["label"]: each["score"] for each in answer} == pytest.approx(probabilities(ours))
    assert [each["score"] for each in answer] == sorted((each["score"] for each in answer), reverse=True)
    assert set(answer[0]) == {"label", "score"}


async def test_every_label_is_scored(client: httpx2.AsyncClient) -> None:
    labels = [f"label {index}" for index in range(20)]
    assert len((await client.post(URL, json=call(candidate_labels=labels))).json()) == 20


async def test_the_template_counts(client: httpx2.AsyncClient) -> None:
    usual = await client.post(URL, json=call())
    other = await client.post(URL, json=call(hypothesis_template="{}"))
    assert usual.json() != other.json()


async def test_its_images_are_counted_like_the_others(client: httpx2.AsyncClient) -> None:
    await client.post(URL, json=call())
    text = (await client.get("/metrics")).text
    assert metric(text, "quorum_images_total", exit_reason="last_stage") == 1


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (call("!"), 400, "invalid_image", "inputs"),
        (call(""), 400, "invalid_image", "inputs"),
        (call("http://example.org/cat.jpg"), 400, "invalid_image", "inputs"),
        (call(as_base64(jpeg()[:500])), 400, "invalid_image", "inputs"),
        (call(as_base64(png_header_of(50_000, 50_000))), 413, "image_too_large", "inputs"),
        (call(candidate_labels=[]), 422, "invalid_labels", "parameters.candidate_labels"),
        (call(candidate_labels="cat,,dog"), 422, "invalid_labels", "parameters.candidate_labels[1]"),
        (call(candidate_labels=["cat", "cat"]), 422, "invalid_labels", "parameters.candidate_labels[1]"),
        (call(candidate_labels=["cat", 1]), 422, "invalid_request", "parameters.candidate_labels[1]"),
        (call(hypothesis_template="none"), 422, "invalid_labels", "parameters.hypothesis_template"),
        (call(top_k=1), 422, "invalid_request", "parameters.top_k"),
        ({"inputs": IMAGE}, 422, "invalid_request", "parameters"),
        ({"parameters": {"candidate_labels": LABELS}}, 422, "invalid_request", "inputs"),
        ([], 422, "invalid_request", None),
    ],
)
async def test_what_is_wrong_is_named_in_the_calls_own_words(
    client: httpx2.AsyncClient, body: object, status: int, code: str, param: str | None
) -> None:
    assert error_of(await client.post(URL, json=body), status, code)["param"] == param


async def test_a_failure_of_ours_blames_no_field(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    fake_engine.faults.failing = {"small_image", "large_image"}
    response = await client.post(URL, json=call())
    assert error_of(response, 502, "backbone_failed")["param"] is None
    assert int(response.headers["retry-after"]) >= 1


async def test_it_keeps_the_default_deadline(make_app: MakeApp, serve: Serve, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"small_image": 9.0, "large_image": 9.0}
    async with serve(make_app(engine=fake_engine, default_deadline_ms=100)) as client:
        response = await client.post(URL, json=call())
    assert error_of(response, 504, "deadline_exceeded")["param"] is None


async def test_json_is_the_only_body_it_reads(client: httpx2.AsyncClient) -> None:
    error_of(await client.post(URL, content=b"{"), 415, "unsupported_media_type")
    error_of(await client.post(URL, content=b"{", headers={"content-type": "application/json"}), 400, "malformed_body")
    error_of(await client.post(URL, files={"inputs": jpeg()}), 415, "unsupported_media_type")
