"""A model repository that ships a generic controller: who speaks for which labels, and what fits start from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from service.errors import RepositoryError
from service.pipeline.shipped.generic_file import FILE_NAME
from service.repository import load_zoo
from tests.conftest import MakeApp, served
from tests.support.api import LABELS, classify_one, probabilities
from tests.support.fitting import PICTURES, URL, Api, pets_on
from tests.support.generic import JUDGED, rewrite, ship
from tests.support.images import as_base64
from tests.support.repository import Spec, write_repository


@pytest.fixture
async def api(make_app: MakeApp, fake_engine: FakeEngine, repository_copy: Path) -> AsyncIterator[Api]:
    ship(repository_copy, load_zoo(repository_copy))
    async with pets_on(make_app(engine=fake_engine, model_repository=repository_copy)) as api:
        yield api


def name_of(api: Api) -> str:
    assert api.services.shipped is not None
    return api.services.shipped.name


@pytest.mark.parametrize("wish", [{}, {"policy": "nlc"}])
async def test_labels_without_a_controller_are_answered_by_the_generic_one(api: Api, wish: dict[str, Any]) -> None:
    inline = await classify_one(api.client, PICTURES[0], labels=LABELS, **wish)
    (registered,) = await api.answers(PICTURES[:1], **wish)
    for result in (inline, registered):
        assert (result["policy"], result["controller"], result["promise"]) == ("nlc", name_of(api), None)
        surer, other = sorted(result["backbones"].values(), key=lambda vote: -vote["probability"])
        assert surer["weight"] > other["weight"] > 1, "it trusts whoever is sure"
    assert probabilities(inline) == probabilities(registered)
    plain = await classify_one(api.client, PICTURES[0], labels=LABELS, policy="mean")
    assert (plain["policy"], plain["controller"]) == ("mean", None)
    assert probabilities(plain) != probabilities(inline)


async def test_a_controller_of_its_own_comes_before_the_generic_one(api: Api) -> None:
    await api.controller(0.5, 2.0)
    assert await api.policy() == ("nlc", "pets/1")
    assert (await classify_one(api.client, PICTURES[0], labels=LABELS))["controller"] == name_of(api)
    assert (await api.client.delete(f"{URL}/controller")).status_code == 204
    assert await api.policy() == ("nlc", name_of(api))
    assert (await api.client.get(URL)).json()["controller"] is None, "it is nobody's own"


async def test_hugging_faces_call_is_answered_by_it_as_well(api: Api) -> None:
    call = {"inputs": as_base64(PICTURES[0]), "parameters": {"candidate_labels": LABELS, "hypothesis_template": "{}"}}
    answer = (await api.client.post("/zero-shot-image-classification", json=call)).json()
    ours = await classify_one(api.client, PICTURES[0], labels=LABELS, templates=["{}"])
    assert {each["label"]: each["score"] for each in answer} == probabilities(ours)


async def test_a_cascade_is_calibrated_under_it_and_stands_and_falls_with_it(api: Api) -> None:
    result = await api.succeeded(await api.calibrate(PICTURES[:48], epsilon=0.25, delta=0.2))
    assert (result["controller"], result["dropped_fitted"]) == (name_of(api), 0)
    assert await api.policy() == ("cascade", name_of(api))
    await api.cascade(0.5)
    assert await api.policy() == ("nlc", name_of(api))
    shown = (await api.client.get(URL)).json()["cascade"]
    assert shown["reason"] == f"It was calibrated under the plain mean, and controller {name_of(api)} speaks now."


async def test_min_confidence_alone_walks_under_it(api: Api) -> None:
    result = await classify_one(api.client, PICTURES[0], labels=LABELS, min_confidence=0.0)
    assert (result["policy"], result["controller"], result["stages"]) == ("cascade", name_of(api), 1)


async def test_fits_start_from_it_and_have_to_beat_it(api: Api) -> None:
    labels = await api.said(PICTURES[:24])
    refused = await api.succeeded(await api.fit(PICTURES[:24], labels))
    assert (refused["accepted"], refused["rung"]) == (False, "generic")
    assert refused["unfitted"]["generic"]["accuracy"] == 1.0, "the labels are its own answers"
    assert await api.policy() == ("nlc", name_of(api))
    labels = await api.said_by("small", PICTURES[:48])
    accepted = await api.succeeded(await api.fit(PICTURES[:48], labels))
    assert accepted["accepted"], accepted["reasons"]
    assert accepted["gain_over_unfitted"]["generic"]["accuracy"] > 0
    fitted = await api.services.artefacts.get("pets", "controller")
    assert fitted is not None
    assert b"generic.w1" in fitted.tensors, "what it started from is part of it"


async def test_info_tells_what_it_is_and_how_it_was_judged(api: Api) -> None:
    info = (await api.client.get("/info")).json()
    assert info["default_policy"] == "nlc"
    assert info["generic_controller"] == {
        "name": name_of(api),
        "applies": True,
        "reason": None,
        "accuracy_gain": 0.125,
        "loss_gain": 0.25,
        "seed": 7,
        "sources": [
            {
                "name": "things",
                "images": 40,
                "classes": 3,
                "accuracy": JUDGED.accuracy,
                "mean_accuracy": JUDGED.mean_accuracy,
                "loss": JUDGED.loss,
                "mean_loss": JUDGED.mean_loss,
            }
        ],
    }


async def test_without_the_file_the_mean_speaks_and_info_says_so(client: httpx2.AsyncClient) -> None:
    info = (await client.get("/info")).json()
    assert (info["generic_controller"], info["default_policy"]) == (None, "mean")


async def test_one_of_another_zoo_is_refused_and_the_mean_answers(make_app: MakeApp, tmp_path: Path) -> None:
    other = load_zoo(write_repository(tmp_path / "other", [Spec("small"), Spec("huge")]))
    served_here = write_repository(tmp_path / "served")
    ship(served_here, other)
    async with served(make_app(model_repository=served_here)) as client:
        result = await classify_one(client, PICTURES[0], policy="nlc")
        assert (result["policy"], result["controller"]) == ("mean", None)
        info = (await client.get("/info")).json()
        shown = info["generic_controller"]
        assert (shown["applies"], info["default_policy"], info["problems"]) == (False, "mean", [])
        assert shown["reason"] == 'The backbone "huge", which it was made with, is not served any more.'
        assert (await client.get("/healthz")).status_code == 200, "the mean answers as well as ever"


@pytest.mark.parametrize("broken", ["damaged", "another format"])
def test_a_broken_one_ends_the_start_with_one_sentence(make_app: MakeApp, repository_copy: Path, broken: str) -> None:
    path = ship(repository_copy, load_zoo(repository_copy))
    if broken == "damaged":
        path.write_bytes(path.read_bytes()[:100])
    else:
        rewrite(path, {"format": 9})
    with pytest.raises(RepositoryError, match=FILE_NAME) as error:
        make_app(model_repository=repository_copy)
    assert "\n" not in error.value.message
