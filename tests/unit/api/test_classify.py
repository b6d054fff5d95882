"""What `POST /v1/classify` answers."""

from __future__ import annotations

from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray

from service.api.services import Services
from service.deadline import Deadline
from service.engines.fake import FakeEngine
from service.pipeline.inputs.decode import ImageLimits, decode
from service.pipeline.inputs.preprocess import preprocess
from service.pipeline.inputs.tokenize import TextTokenizer
from service.repository import Zoo
from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, classify, classify_one, probabilities
from tests.support.images import jpeg

Floats = NDArray[np.float64]

RESULT_FIELDS = {
    "index",
    "predictions",
    "confidence",
    "exit_score",
    "policy",
    "controller",
    "exit_reason",
    "promise",
    "stages",
    "backbones",
    "gflops",
    "gflops_full",
    "degraded",
    "failed",
}


def softmax(logits: Floats) -> Floats:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


async def backbone_cosines(services: Services, image: bytes, prompts: list[str]) -> Floats:
    """`float64[b, c]`, worked out next to the pipeline: no cache, no batch, no threads."""
    rows = []
    deadline = Deadline.after(30.0)
    for backbone in services.zoo.backbones:
        picture = decode(image, ImageLimits(1 << 20, 1 << 20), services.zoo.largest_image_size)
        tensor = preprocess(picture, backbone.preprocessing)
        (embedded,) = await services.engine.embed(backbone.image.name, [tensor], deadline)
        texts = await services.engine.embed(backbone.text.name, list(TextTokenizer(backbone.text)(prompts)), deadline)
        assert isinstance(embedded, np.ndarray)
        rows.append(np.stack([np.asarray(text) for text in texts]).astype(np.float64) @ embedded)
    return np.stack(rows)


@pytest.mark.parametrize("engine", ["fake", "onnx"])
@pytest.mark.parametrize("policy", ["mean", "mean_logit"])
async def test_the_committee_says_what_the_formulas_say(
    make_app: MakeApp, serve: Serve, engine: str, policy: str
) -> None:
    app = make_app(engine=engine)
    image = jpeg()
    async with serve(app) as client:
        result = await classify_one(client, image, policy=policy)
        services: Services = app.state.services
        cosines = await backbone_cosines(services, image, [f"a photo of a {label}." for label in LABELS])
    scales = np.array([backbone.logit_scale / backbone.temperature for backbone in services.zoo.backbones])
    logits = cosines * scales[:, None]
    expected = softmax(logits).mean(axis=0) if policy == "mean" else softmax(logits.mean(axis=0))
    order = np.argsort(-expected)
    assert [each["label"] for each in result["predictions"]] == [LABELS[index] for index in order]
    assert [each["probability"] for each in result["predictions"]] == pytest.approx(expected[order], abs=1e-5)
    assert [each["cosine"] for each in result["predictions"]] == pytest.approx(cosines.mean(axis=0)[order], abs=1e-5)
    assert result["confidence"] == result["exit_score"] == pytest.approx(expected.max(), abs=1e-5)
    for backbone, own in zip(services.zoo.backbones, softmax(logits), strict=True):
        vote = result["backbones"][backbone.name]
        assert vote == {
            "weight": 1.0,
            "top_label": LABELS[int(own.argmax())],
            "probability": pytest.approx(own.max(), abs=1e-5),
            "cached": False,
        }


async def test_a_single_backbone_answers_alone_and_is_named(client: httpx2.AsyncClient, fake_zoo: Zoo) -> None:
    (backbone, _) = fake_zoo.backbones
    answer = await classify(client, jpeg(), policy="single", backbones=[backbone.name])
    (result,) = answer["results"]
    assert answer["model"] == backbone.name
    assert list(result["backbones"]) == [backbone.name]
    assert result["confidence"] == result["backbones"][backbone.name]["probability"]
    assert (result["gflops"], result["gflops_full"]) == (backbone.gflops, fake_zoo.gflops)


async def test_an_answer_has_every_field_of_its_shape(client: httpx2.AsyncClient, fake_zoo: Zoo) -> None:
    answer = await classify(client, jpeg(seed=1), jpeg(seed=2))
    assert set(answer) == {"id", "model", "label_set", "results", "usage"}
    assert (answer["model"], answer["label_set"]) == ("committee", None)
    assert [result["index"] for result in answer["results"]] == [0, 1]
    for result in answer["results"]:
        assert set(result) == RESULT_FIELDS
        assert sum(probabilities(result).values()) == pytest.approx(1.0)
        assert (result["controller"], result["promise"], result["stages"]) == (None, None, 1)
        assert (result["policy"], result["exit_reason"], result["degraded"]) == ("mean", "last_stage", False)
    assert answer["usage"] == {
        "images": 2,
        "backbone_calls": {"small": 2, "large": 2},
        "gflops": 2 * fake_zoo.gflops,
        "gflops_full": 2 * fake_zoo.gflops,
    }


async def test_every_answer_has_an_id_of_its_own(client: httpx2.AsyncClient) -> None:
    assert (await classify(client, jpeg()))["id"] != (await classify(client, jpeg()))["id"]


@pytest.mark.parametrize("top_k", [1, 2, 3, 1000, 10**30])
async def test_top_k_cuts_the_list_and_may_exceed_it(client: httpx2.AsyncClient, top_k: int) -> None:
    everything = (await classify_one(client, jpeg(), top_k=3))["predictions"]
    assert (await classify_one(client, jpeg(), top_k=top_k))["predictions"] == everything[:top_k]


async def test_without_explain_nobody_says_how_they_voted(client: httpx2.AsyncClient) -> None:
    explained = await classify_one(client, jpeg())
    result = await classify_one(client, jpeg(), explain=False)
    assert result["backbones"] is None
    assert result["predictions"] == explained["predictions"]


async def test_a_subset_of_the_backbones_is_asked_alone(client: httpx2.AsyncClient, fake_engine: FakeEngine) -> None:
    result = await classify_one(client, jpeg(), backbones=["large"])
    assert list(result["backbones"]) == ["large"]
    assert {tower for tower, _ in fake_engine.calls} == {"large_image", "large_text"}


async def test_templates_change_what_is_asked(client: httpx2.AsyncClient) -> None:
    usual = await classify_one(client, jpeg())
    same = await classify_one(client, jpeg(), templates=["a photo of a {}."])
    other = await classify_one(client, jpeg(), templates=["a drawing of a {}.", "{}"])
    assert probabilities(same) == probabilities(usual)
    assert probabilities(other) != probabilities(usual)


async def test_the_same_image_again_costs_nothing_and_takes_the_same_path(client: httpx2.AsyncClient) -> None:
    first = await classify(client, jpeg())
    again = await classify(client, jpeg())
    assert again["usage"] == {"images": 1, "backbone_calls": {}, "gflops": 0.0, "gflops_full": 1.75}
    (fresh,), (known,) = first["results"], again["results"]
    assert known["gflops"] == 0.0
    assert [vote["cached"] for vote in known["backbones"].values()] == [True, True]
    assert without_cost(known) == without_cost(fresh)


def without_cost(result: dict[str, Any]) -> dict[str, Any]:
    votes = {name: {**vote, "cached": None} for name, vote in result["backbones"].items()}
    return {**result, "gflops": None, "backbones": votes}


async def test_without_a_cache_everything_is_asked_again(make_app: MakeApp, serve: Serve) -> None:
    async with serve(make_app(cache_max_bytes=0)) as client:
        results = [await classify_one(client, jpeg()) for _ in range(2)]
    assert results[0] == results[1]
    assert results[1]["gflops"] == 1.75


async def test_an_image_does_not_depend_on_its_neighbours_or_its_place(client: httpx2.AsyncClient) -> None:
    images = [jpeg(seed=seed) for seed in range(5)]
    together = (await classify(client, *images))["results"]
    turned = (await classify(client, *reversed(images)))["results"]
    for here, there in zip(together, reversed(turned), strict=True):
        assert here["predictions"] == there["predictions"]


async def test_one_label_is_certain(client: httpx2.AsyncClient) -> None:
    result = await classify_one(client, jpeg(), labels=["cat"])
    assert [(each["label"], each["probability"]) for each in result["predictions"]] == [("cat", 1.0)]


@pytest.mark.parametrize("labels", [["猫", "собака"], ["🐈", "cat\u0301"], ['"', "\\"], ["{}", "{0.__class__}"]])
async def test_labels_come_back_as_they_were_sent(client: httpx2.AsyncClient, labels: list[str]) -> None:
    assert set(probabilities(await classify_one(client, jpeg(), labels=labels))) == set(labels)


async def test_a_registered_label_set_is_used_by_name(client: httpx2.AsyncClient) -> None:
    stored = await client.put("/v1/label-sets/pets", json={"labels": LABELS})
    assert stored.status_code == 201
    answer = await classify(client, jpeg(), label_set="pets")
    assert answer["label_set"] == "pets"
    spelled_out = await classify_one(client, jpeg(), labels=LABELS)
    assert probabilities(answer["results"][0]) == probabilities(spelled_out)
