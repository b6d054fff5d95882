"""Versions of controllers and cascades: which one applies and why not, back and forth, and away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.engines.fake import FakeEngine
from service.repository import Zoo
from tests.conftest import MakeApp
from tests.support.api import LABELS, error_of
from tests.support.asgi import metric
from tests.support.fitting import PICTURES, URL, Api, pets_on


@pytest.fixture
async def api(make_app: MakeApp, fake_engine: FakeEngine) -> AsyncIterator[Api]:
    async with pets_on(make_app(engine=fake_engine)) as api:
        yield api


async def test_a_controller_that_came_after_the_calibration_puts_the_cascade_aside(api: Api) -> None:
    await api.controller(0.5, 2.0)
    await api.cascade(0.0, controller="pets/1")
    assert await api.policy() == ("cascade", "pets/1")
    await api.controller(2.0, 0.5)
    reason = "It was calibrated under controller pets/1, and controller pets/2 speaks now."
    assert await api.policy() == ("nlc", "pets/2")
    refused = await api.client.post("/v1/classify", json=_call(policy="cascade"))
    error = error_of(refused, 409, "conflict")
    assert error["param"] == "policy"
    assert error["message"].startswith(f"The cascade pets/1 does not apply. {reason} Calibrate one")
    (version,) = (await api.client.get(f"{URL}/cascade")).json()["versions"]
    assert (version["active"], version["applies"], version["reason"]) == (True, False, reason)
    shown = (await api.client.get(URL)).json()
    assert shown["controller"] == {"version": 2, "applies": True, "reason": None}
    assert shown["cascade"]["reason"] == reason
    await _activate(api, "controller", 1)
    assert await api.policy() == ("cascade", "pets/1")


def _call(**fields: Any) -> dict[str, Any]:
    return {"images": [{"data": "aGVsbG8="}], "label_set": "pets", **fields}


async def _activate(api: Api, kind: str, version: int) -> dict[str, Any]:
    response = await api.client.put(f"{URL}/{kind}", json={"version": version})
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_one_can_go_back_and_forth_between_versions(api: Api) -> None:
    for weights in ((0.5, 2.0), (2.0, 0.5), (1.0, 1.0)):
        await api.controller(*weights)
    answer = await _activate(api, "controller", 1)
    assert answer["active"] == 1
    assert [(each["version"], each["active"]) for each in answer["versions"]] == [(3, False), (2, False), (1, True)]
    (result,) = await api.answers(PICTURES[:1])
    assert result["controller"] == "pets/1"
    assert result["backbones"]["large"]["weight"] == pytest.approx(2.0)
    await _activate(api, "controller", 3)
    assert await api.policy() == ("nlc", "pets/3")


async def test_a_version_that_is_not_kept_cannot_be_gone_back_to(api: Api) -> None:
    await api.controller(1.0, 2.0)
    for version in (2, 99):
        response = await api.client.put(f"{URL}/controller", json={"version": version})
        assert error_of(response, 404, "not_found")["param"] == "version"
    for body in ({}, {"version": 0}, {"version": "one"}, {"version": 1, "colour": "red"}):
        error_of(await api.client.put(f"{URL}/controller", json=body), 422, "invalid_request")


async def test_what_was_made_for_other_labels_does_not_apply_until_they_come_back(api: Api) -> None:
    await api.controller(0.5, 2.0)
    await api.cascade(0.0, controller="pets/1")
    await api.client.put(URL, json={"labels": ["bus", "tram"]})
    assert await api.policy() == ("mean", None)
    refused = await api.client.post("/v1/classify", json=_call(policy="cascade"))
    assert "other labels or templates" in error_of(refused, 409, "conflict")["message"]
    error_of(await api.client.put(f"{URL}/controller", json={"version": 1}), 409, "label_set_changed")
    shown = (await api.client.get(URL)).json()
    assert (shown["controller"]["applies"], shown["cascade"]["applies"]) == (False, False)
    replaced = (await api.client.put(URL, json={"labels": LABELS})).json()
    assert (replaced["controller"]["applies"], replaced["cascade"]["applies"]) == (True, True)
    assert await api.policy() == ("cascade", "pets/1")


async def test_another_zoo_refuses_what_was_made_for_the_old_one(make_app: MakeApp, repository_copy: Path) -> None:
    async with pets_on(make_app()) as api:
        await api.controller(0.5, 2.0)
        await api.cascade(0.0, controller="pets/1")
    for tower in ("large_image", "large_text"):
        (repository_copy / tower).rename(repository_copy.parent / tower)
    async with pets_on(make_app(model_repository=repository_copy)) as api:
        assert await api.policy() == ("mean", None)
        shown = (await api.client.get(URL)).json()
        reason = 'The backbone "large", which it was made with, is not served any more.'
        assert shown["controller"] == {"version": 1, "applies": False, "reason": reason}
        assert (shown["cascade"]["applies"], shown["cascade"]["reason"]) == (False, reason)
    async with pets_on(make_app()) as api:
        assert await api.policy() == ("cascade", "pets/1"), "with the zoo they come back"


@pytest.mark.parametrize("kind", ["controller", "cascade"])
async def test_deleting_takes_every_version(api: Api, kind: str) -> None:
    for _ in range(2):
        await (api.controller(0.5, 2.0) if kind == "controller" else api.cascade(0.0))
    assert (await api.client.delete(f"{URL}/{kind}")).status_code == 204
    error_of(await api.client.delete(f"{URL}/{kind}"), 404, "not_found")
    error_of(await api.client.get(f"{URL}/{kind}"), 404, "not_found")
    assert await api.policy() == ("mean", None)
    assert (await api.client.get(URL)).json()[kind] is None


async def test_what_is_not_there_says_how_to_make_it(api: Api) -> None:
    for kind in ("controller", "cascade"):
        error = error_of(await api.client.get(f"{URL}/{kind}"), 404, "not_found")
        assert f"POST {URL}/{kind}" in error["message"]
        for method in ("GET", "PUT", "POST"):
            body = None if method == "GET" else {"version": 1}
            response = await api.client.request(method, f"/v1/label-sets/nobody/{kind}", json=body)
            assert "PUT /v1/label-sets/nobody" in error_of(response, 404, "not_found")["message"]


@pytest.mark.parametrize("path", [f"{URL}/adapter", f"{URL}/controllers", f"{URL}/controller/1"])
async def test_other_addresses_are_not_there(api: Api, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        error_of(await api.client.request(method, path, json={"version": 1}), 404, "not_found")


async def test_another_method_is_not_allowed(api: Api) -> None:
    for kind in ("controller", "cascade"):
        error_of(await api.client.patch(f"{URL}/{kind}", json={}), 405, "method_not_allowed")


async def test_a_label_set_may_be_called_like_what_is_fitted(api: Api) -> None:
    for name in ("cascade", "controller"):
        assert (await api.client.put(f"/v1/label-sets/{name}", json={"labels": LABELS})).status_code == 201
        for kind in ("controller", "cascade"):
            message = error_of(await api.client.get(f"/v1/label-sets/{name}/{kind}"), 404, "not_found")["message"]
            assert message.startswith(f'"{name}" has no {kind}.')


async def test_a_label_set_tells_what_is_active_and_a_list_does_not(api: Api) -> None:
    fresh = (await api.client.get(URL)).json()
    assert (fresh["controller"], fresh["cascade"]) == (None, None)
    await api.controller(0.5, 2.0)
    await api.cascade(0.0, controller="pets/1")
    shown = (await api.client.get(URL)).json()
    assert shown["controller"] == {"version": 1, "applies": True, "reason": None}
    promise = {"epsilon": 0.02, "delta": 0.1}
    assert shown["cascade"] == {"version": 1, "applies": True, "reason": None, "promise": promise}
    (listed,) = (await api.client.get("/v1/label-sets")).json()["data"]
    assert set(shown) - set(listed) == {"controller", "cascade"}


async def test_nothing_fitted_shows_in_the_metrics_by_name(api: Api, fake_zoo: Zoo) -> None:
    await api.cascade(0.0)
    await api.answers(PICTURES[:3])
    text = (await api.client.get("/metrics")).text
    assert metric(text, "quorum_cascade_exits_total", stage=1) == 3
    assert metric(text, "quorum_cascade_gflops_saved_total") == 3 * fake_zoo.backbones[1].gflops
    assert "pets" not in text
