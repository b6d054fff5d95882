"""What `POST /v1/embeddings` answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import numpy as np
import pytest

from service.api.embedding_schemas import EmbeddingsResponse
from service.api.services import Services
from service.engines.fake import FakeEngine
from service.repository import Zoo
from tests.conftest import MakeApp, Serve
from tests.support.api import classify_one
from tests.support.asgi import metric
from tests.support.embeddings import URL, data_uri, embed, plain_embedding, rows_of, vectors
from tests.support.images import encoded, jpeg, photograph
from tests.support.repository import CONTEXT_LENGTH

TEXT, IMAGE = "a cat", data_uri(jpeg())
MIXED = ["a cat", data_uri(jpeg(seed=1)), "a dog", data_uri(jpeg(seed=2)), "a teapot on a table", "a cat"]


@pytest.mark.parametrize("engine", ["fake", "onnx"])
@pytest.mark.parametrize("given", ["a cat", jpeg()], ids=["text", "image"])
async def test_the_committee_is_the_concatenation_divided_by_the_root_of_its_size(
    make_app: MakeApp, serve: Serve, engine: str, given: str | bytes
) -> None:
    app = make_app(engine=engine)
    async with serve(app) as client:
        (found,) = await vectors(client, given if isinstance(given, str) else data_uri(given))
        services: Services = app.state.services
        parts = [await plain_embedding(services, backbone, given) for backbone in services.zoo.backbones]
    expected = np.concatenate(parts) / np.sqrt(2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("engine", ["fake", "onnx"])
@pytest.mark.parametrize("given", ["a cat", jpeg()], ids=["text", "image"])
async def test_a_backbone_answers_alone_under_its_own_name(
    make_app: MakeApp, serve: Serve, engine: str, given: str | bytes
) -> None:
    app = make_app(engine=engine)
    async with serve(app) as client:
        answer = await embed(client, given if isinstance(given, str) else data_uri(given), "large")
        services: Services = app.state.services
        expected = await plain_embedding(services, services.zoo.backbones[1], given)
    assert answer["model"] == "large"
    np.testing.assert_allclose(rows_of(answer)[0], expected, rtol=0, atol=1e-6)


async def test_an_answer_has_openais_shape_and_no_more(client: httpx2.AsyncClient) -> None:
    answer = await embed(client, MIXED)
    assert set(answer) == {"object", "data", "model", "usage"}
    assert (answer["object"], answer["model"]) == ("list", "committee")
    assert set(answer["usage"]) == {"prompt_tokens", "total_tokens"}
    assert [set(each) for each in answer["data"]] == [{"object", "index", "embedding"}] * len(MIXED)
    assert [(each["object"], each["index"]) for each in answer["data"]] == [
        ("embedding", index) for index in range(len(MIXED))
    ]
    assert EmbeddingsResponse.model_validate(answer).model_dump() == answer


async def test_a_list_of_texts_and_images_comes_back_in_its_order(client: httpx2.AsyncClient) -> None:
    together = await vectors(client, MIXED)
    alone = np.concatenate([await vectors(client, each) for each in MIXED])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[0], together[5])
    assert len({row.tobytes() for row in together}) == len(set(MIXED))


async def test_a_text_alone_is_the_same_as_a_list_of_one(client: httpx2.AsyncClient) -> None:
    assert await embed(client, TEXT) == await embed(client, [TEXT])


@pytest.mark.parametrize("model", ["small", "committee"])
async def test_base64_holds_exactly_the_floats(client: httpx2.AsyncClient, model: str) -> None:
    floats = await embed(client, MIXED, model, encoding_format="float")
    packed = await embed(client, MIXED, model, encoding_format="base64")
    assert all(isinstance(each["embedding"], str) for each in packed["data"])
    assert [each["embedding"] for each in floats["data"]] == rows_of(packed).tolist()


@pytest.mark.parametrize("fields", [{}, {"encoding_format": None, "user": None, "dimensions": None}, {"user": "me"}])
async def test_what_is_optional_changes_nothing(client: httpx2.AsyncClient, fields: dict[str, Any]) -> None:
    assert await embed(client, MIXED, **fields) == await embed(client, MIXED, encoding_format="float")


@pytest.mark.parametrize(("model", "width"), [("small", 8), ("large", 12), ("committee", 20)])
async def test_the_native_number_of_dimensions_may_be_named(client: httpx2.AsyncClient, model: str, width: int) -> None:
    assert (await vectors(client, TEXT, model, dimensions=width)).shape == (1, width)


@pytest.mark.parametrize("engine", ["fake", "onnx"])
async def test_neither_neighbours_nor_place_nor_cache_change_an_embedding(
    make_app: MakeApp, serve: Serve, engine: str
) -> None:
    async with serve(make_app(engine=engine, cache_max_bytes=0)) as uncached:
        cold = await vectors(uncached, MIXED)
        turned = await vectors(uncached, MIXED[::-1])
        alone = np.concatenate([await vectors(uncached, each) for each in MIXED])
    async with serve(make_app(engine=engine)) as cached:
        warm = [await vectors(cached, MIXED[:3]), await vectors(cached, MIXED), await vectors(cached, MIXED)][-1]
    for other in (turned[::-1], alone, warm):
        np.testing.assert_allclose(other, cold, rtol=0, atol=1e-6)


async def test_what_is_known_is_not_asked_again(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    first = await embed(client, MIXED)
    calls = list(fake_engine.calls)
    assert await embed(client, MIXED) == first
    assert fake_engine.calls == calls


async def test_a_text_that_is_there_twice_is_read_once(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    await embed(client, [TEXT] * 5, "small")
    assert fake_engine.calls == [("small_text", 1)]


async def test_a_classified_image_is_known_already(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    await classify_one(client, jpeg())
    calls = list(fake_engine.calls)
    await embed(client, IMAGE)
    assert fake_engine.calls == calls


async def test_a_backbone_alone_is_asked_alone_and_all_texts_together(
    client: httpx2.AsyncClient, fake_engine: FakeEngine
) -> None:
    await embed(client, MIXED, "small")
    assert sorted(fake_engine.calls) == [("small_image", 2), ("small_text", 3)]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
async def test_every_format_is_read(client: httpx2.AsyncClient, image_format: str) -> None:
    image = encoded(photograph(), image_format)
    found = await vectors(client, [data_uri(image, f"image/{image_format.lower()}"), data_uri(image, "text/plain")])
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize(
    "text", ["猫", "🐈\u200d⬛", "data", "data:", "a: b, c", "http://example.org/cat.jpg", " x ", "\0"]
)
async def test_any_other_string_is_a_text(client: httpx2.AsyncClient, fake_engine: FakeEngine, text: str) -> None:
    await embed(client, text, "small")
    assert fake_engine.calls == [("small_text", 1)]


@pytest.mark.parametrize(
    ("given", "small_tokens"),
    [
        ("abc", 3),
        (["abc", "ab"], 5),
        (["abc", "abc"], 6),
        ("é", 2),
        ("x" * 100, CONTEXT_LENGTH),
        ([IMAGE, "abc"], 3),
        (IMAGE, 0),
    ],
)
async def test_tokens_are_those_that_the_towers_read(
    client: httpx2.AsyncClient, given: object, small_tokens: int
) -> None:
    for _ in range(2):  # unknown, then known
        assert (await embed(client, given, "small"))["usage"] == {
            "prompt_tokens": small_tokens,
            "total_tokens": small_tokens,
        }
    assert (await embed(client, given))["usage"]["prompt_tokens"] == 2 * small_tokens  # bytes are tokens in both


async def test_inputs_and_work_are_counted(client: httpx2.AsyncClient, fake_zoo: Zoo) -> None:
    await embed(client, MIXED)
    await embed(client, MIXED)
    text = (await client.get("/metrics")).text
    assert metric(text, "quorum_embedded_total", kind="image") == 4
    assert metric(text, "quorum_embedded_total", kind="text") == 8
    assert metric(text, "quorum_gflops_total") == 2 * fake_zoo.gflops
    assert metric(text, "quorum_requests_total", method="POST", route=URL, status=200) == 2
    assert metric(text, "quorum_stage_seconds_count", stage="texts") == 2


async def test_a_call_says_how_long_its_stages_took(client: httpx2.AsyncClient) -> None:
    response = await client.post(URL, json={"model": "small", "input": MIXED}, headers={"X-Request-ID": "mine"})
    assert response.headers["x-request-id"] == "mine"
    stages = [part.partition(";")[0] for part in response.headers["server-timing"].split(", ")]
    assert {"read", "texts", "decode", "embed", "shape", "total"} <= set(stages)


async def test_many_mixed_lists_at_once_are_answered_like_each_alone(make_app: MakeApp, serve: Serve) -> None:
    lists = [
        [data_uri(jpeg(seed=seed)), f"text {seed}", "a cat", data_uri(jpeg(seed=seed % 5)), f"text {seed % 7}"]
        for seed in range(40)
    ]
    async with serve(make_app(engine="onnx")) as client:
        together = await asyncio.gather(*[embed(client, each, encoding_format="base64") for each in lists])
        alone = [await embed(client, each, encoding_format="base64") for each in lists]
    for here, there in zip(together, alone, strict=True):
        np.testing.assert_allclose(rows_of(here), rows_of(there), rtol=0, atol=1e-6)
        assert here["usage"] == there["usage"]


async def test_a_thousand_texts_fit_into_one_call(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    texts = [f"text {index}" for index in range(1_000)]
    found = await vectors(client, texts, "small")
    assert found.shape == (1_000, 8)
    np.testing.assert_array_equal(found[777], (await vectors(client, "text 777", "small"))[0])
    assert sum(rows for _, rows in fake_engine.calls) == 1_000
    assert max(rows for _, rows in fake_engine.calls) <= 256


async def test_the_json_is_plain(client: httpx2.AsyncClient) -> None:
    response = await client.post(URL, json={"model": "small", "input": TEXT})
    assert response.headers["content-type"] == "application/json"
    (numbers,) = (each["embedding"] for each in json.loads(response.content)["data"])
    assert all(np.float32(number) == number for number in numbers)
