"""OpenAI's own client, unchanged, with the whole API behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp
from tests.support.embeddings import Floats, data_uri, vectors
from tests.support.images import jpeg
from tests.support.keys import keys_file

MIXED = ["a cat", data_uri(jpeg(seed=1)), "a dog", data_uri(jpeg(seed=2))]


@pytest.fixture
async def http(make_app: MakeApp, fake_engine: FakeEngine, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    app = make_app(engine=fake_engine, api_keys_file=keys_file(tmp_path, "secret"))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


@pytest.fixture
def ai(http: httpx2.AsyncClient) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="secret", base_url="http://test/v1", http_client=http, max_retries=0)


def rows(answer: openai.types.CreateEmbeddingResponse) -> Floats:
    return np.array([each.embedding for each in answer.data], dtype=np.float32)


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"user": "me", "dimensions": 20}])
async def test_it_gets_the_embeddings_of_texts_and_images(
    ai: openai.AsyncOpenAI, http: httpx2.AsyncClient, options: dict[str, Any]
) -> None:
    answer = await ai.embeddings.create(model="committee", input=MIXED, **options)
    http.headers["Authorization"] = "Bearer secret"
    np.testing.assert_array_equal(rows(answer), await vectors(http, MIXED))
    assert (answer.object, answer.model) == ("list", "committee")
    assert [each.index for each in answer.data] == [0, 1, 2, 3]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 2 * len("a cat" + "a dog")


async def test_it_reads_base64_itself_when_asked_to(ai: openai.AsyncOpenAI) -> None:
    floats = await ai.embeddings.create(model="small", input="a cat", encoding_format="float")
    packed = await ai.embeddings.create(model="small", input="a cat", encoding_format="base64")
    (embedding,) = (str(each.embedding) for each in packed.data)  # it declares a list whatever was asked for
    raw = await ai.embeddings.with_raw_response.create(model="small", input="a cat")
    assert embedding in raw.text  # base64 on the wire
    assert rows(floats).tolist() == rows(raw.parse()).tolist()


@pytest.mark.parametrize(
    ("options", "raised", "code", "param"),
    [
        ({"model": "text-embedding-3-small", "input": "a"}, openai.NotFoundError, "not_found", "model"),
        ({"model": "small", "input": ["a", ""]}, openai.BadRequestError, "invalid_text", "input[1]"),
        (
            {"model": "small", "input": ["a", data_uri(b"no image")]},
            openai.BadRequestError,
            "invalid_image",
            "input[1]",
        ),
        ({"model": "small", "input": [1, 2]}, openai.UnprocessableEntityError, "invalid_request", "input"),
        (
            {"model": "small", "input": "a", "dimensions": 4},
            openai.UnprocessableEntityError,
            "invalid_request",
            "dimensions",
        ),
    ],
)
async def test_it_raises_its_own_errors_with_our_codes(
    ai: openai.AsyncOpenAI, options: dict[str, Any], raised: type[openai.APIStatusError], code: str, param: str
) -> None:
    with pytest.raises(raised) as caught:
        await ai.embeddings.create(**options)
    assert (caught.value.code, caught.value.param, caught.value.type) == (code, param, "invalid_request_error")
    assert caught.value.request_id
    assert param.partition("[")[0] in caught.value.message or code == "not_found"


async def test_a_wrong_key_is_its_authentication_error(ai: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await ai.with_options(api_key="guess").embeddings.create(model="small", input="a")


async def test_a_failing_backbone_is_its_server_error(ai: openai.AsyncOpenAI, fake_engine: FakeEngine) -> None:
    fake_engine.faults.failing = {"small_text"}
    with pytest.raises(openai.InternalServerError) as caught:
        await ai.embeddings.create(model="small", input="a")
    assert (caught.value.status_code, caught.value.code) == (502, "backbone_failed")


async def test_it_lists_the_models(ai: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in ai.models.list()] == ["small", "large", "committee"]
    assert (await ai.models.retrieve("committee")).object == "model"
    with pytest.raises(openai.NotFoundError):
        await ai.models.retrieve("huge")
