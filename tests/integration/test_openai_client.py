"""OpenAI's own client against a real server process with the bundled zoo."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import numpy as np
import openai
import pytest

from tests.conftest import ROOT
from tests.support.embeddings import data_uri

SAMPLES = ROOT / "service/playground/samples"
WORDS = ["a photo of bananas", "a photo of a bus", "a photo of a cap"]
PICTURES = [SAMPLES / name for name in ("bananas.webp", "bus.png", "cap.webp")]


@pytest.fixture
def ai(live_server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none", base_url=f"{live_server}/v1") as client:
        yield client


def test_inner_products_are_the_cosines_that_classify_answers(ai: openai.OpenAI, live_server: str) -> None:
    pictures = [data_uri(picture.read_bytes(), "image/*") for picture in PICTURES]
    answer = ai.embeddings.create(model="committee", input=[*WORDS, *pictures])
    assert answer.usage.prompt_tokens > 0
    words, seen = np.split(np.array([each.embedding for each in answer.data]), 2)
    body = {"images": [{"data": each} for each in pictures], "labels": WORDS, "templates": ["{}"], "policy": "mean"}
    results = httpx2.post(f"{live_server}/v1/classify", json=body).raise_for_status().json()["results"]
    said = [{each["label"]: each["cosine"] for each in result["predictions"]} for result in results]
    expected = [[cosines[word] for word in WORDS] for cosines in said]
    np.testing.assert_allclose(seen @ words.T, expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 0.05


def test_every_listed_model_embeds_with_its_own_width(ai: openai.OpenAI) -> None:
    widths, members = {}, set()
    for model in ai.models.list():
        members |= set(getattr(model, "backbones", ()))
        (found,) = ai.embeddings.create(model=model.id, input="a cat", encoding_format="float").data
        widths[model.id] = len(found.embedding)
        assert np.linalg.norm(found.embedding) == pytest.approx(1.0, abs=1e-5)
    committee = widths.pop("committee")
    assert committee == sum(widths[name] for name in members)


def test_one_bad_picture_is_the_calls_error(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ai.embeddings.create(model="committee", input=["a cat", "data:image/png;base64,AAAA"])
    assert (caught.value.code, caught.value.param) == ("invalid_image", "input[1]")
