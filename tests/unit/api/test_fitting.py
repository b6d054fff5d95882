"""Jobs that fit and calibrate, from the call that begins one to the requests that are answered by what it made."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp
from tests.support.api import LABELS, error_of
from tests.support.fitting import PICTURES, URL, Api, pets_on
from tests.support.jobs import PATIENCE_S

JOB_FIELDS = {
    *("id", "object", "kind", "label_set", "state", "progress", "result", "error"),
    *("created_at", "started_at", "finished_at"),
}
GENEROUS = {"epsilon": 0.25, "delta": 0.2}
"""With these, 14 images are enough for somebody to leave early."""


@pytest.fixture
async def api(make_app: MakeApp, fake_engine: FakeEngine) -> AsyncIterator[Api]:
    async with pets_on(make_app(engine=fake_engine, drain_timeout_s=0.01)) as api:
        yield api


async def test_a_fit_is_a_job_whose_controller_then_answers(api: Api) -> None:
    labels = await api.said_by("small", PICTURES[:48])
    job = await api.fit(PICTURES[:48], labels)
    assert set(job) == JOB_FIELDS
    assert (job["kind"], job["label_set"], job["state"], job["result"]) == ("controller", "pets", "queued", None)
    result = await api.succeeded(job)
    assert (result["accepted"], result["version"], result["skipped"]) == (True, 1, [])
    assert result["held_out"]["accuracy"] > result["unfitted"]["mean"]["accuracy"]
    assert await api.policy() == ("nlc", "pets/1")
    (answer,) = await api.answers(PICTURES[60:61])
    assert answer["backbones"]["small"]["weight"] > answer["backbones"]["large"]["weight"]
    shown = (await api.client.get(f"{URL}/controller")).json()
    (version,) = shown["versions"]
    assert (shown["active"], version["applies"], version["reason"]) == (1, True, None)
    assert version["about"]["rung"] == result["rung"]
    assert shown["shadow"] is None


async def test_the_same_examples_and_seed_give_the_same_controller(api: Api) -> None:
    labels = await api.said_by("small", PICTURES[:32])
    weights = []
    for _ in range(2):
        await api.succeeded(await api.fit(PICTURES[:32], labels, seed=7))
        (answer,) = await api.answers(PICTURES[60:61])
        weights.append({name: vote["weight"] for name, vote in answer["backbones"].items()})
    assert weights[0] == weights[1]
    assert await api.policy() == ("nlc", "pets/2")


async def test_a_fit_that_does_not_beat_the_mean_is_refused_with_reasons(api: Api) -> None:
    labels = await api.said(PICTURES[:24], policy="mean")  # the mean is right about each of them
    result = await api.succeeded(await api.fit(PICTURES[:24], labels))
    assert result["accepted"] is False
    assert result["reasons"]
    assert "version" not in result
    assert await api.policy() == ("mean", None)
    error_of(await api.client.get(f"{URL}/controller"), 404, "not_found")
    assert (await api.client.get(URL)).json()["controller"] is None


async def test_a_refused_fit_leaves_the_controller_that_was_there(api: Api) -> None:
    labels = await api.said(PICTURES[:24], policy="mean")
    await api.controller(0.5, 2.0)
    assert not (await api.succeeded(await api.fit(PICTURES[:24], labels)))["accepted"]
    assert await api.policy() == ("nlc", "pets/1")


async def test_one_example_is_taken_and_told_to_be_too_few(api: Api) -> None:
    result = await api.succeeded(await api.fit(PICTURES[:1], LABELS[:1]))
    assert result["accepted"] is False
    assert "at least" in result["reasons"][0]


async def test_examples_that_cannot_be_read_are_told_and_left_out(api: Api) -> None:
    labels = await api.said_by("small", PICTURES[:24])
    images: list[bytes | str] = [*PICTURES[:24], b"no image", "?!"]
    result = await api.succeeded(await api.fit(images, [*labels, "cat", "dog"]))
    assert [(each["index"], each["code"]) for each in result["skipped"]] == [
        (24, "invalid_image"),
        (25, "invalid_image"),
    ]
    assert result["about"]["examples"] == 24


async def test_when_no_example_can_be_read_the_job_says_so(api: Api) -> None:
    ended = await api.ended(await api.fit([b"one", b"two"], ["cat", "dog"]))
    assert ended["state"] == "failed"
    assert ended["error"]["code"] == "invalid_examples"


async def test_a_calibration_is_a_job_whose_cascade_then_answers(api: Api) -> None:
    await api.controller(1.5, 1.0)
    result = await api.succeeded(await api.calibrate(PICTURES, **GENEROUS))
    assert (result["controller"], result["version"], result["skipped"]) == ("pets/1", 1, [])
    assert (result["epsilon"], result["delta"], result["message"]) == (0.25, 0.2, None)
    assert result["backbones"] == ["small", "large"]
    assert result["chosen"]["best_fixed"]["backbone"] in ("small", "large")
    assert [stage["backbones"] for stage in result["stages"]] == [["small"], ["large"]]
    first, last = result["stages"]
    assert 0 < first["threshold"] <= 1
    assert last["threshold"] is None
    assert first["temperature"] > 0
    results = await api.answers(PICTURES[:32])
    assert {each["policy"] for each in results} == {"cascade"}
    assert {each["controller"] for each in results} == {"pets/1"}
    assert all(each["promise"] == {"epsilon": 0.25, "delta": 0.2} for each in results)
    ways = Counter((each["exit_reason"], each["stages"]) for each in results)
    assert ways[("confident", 1)] > 0
    about = (await api.client.get(f"{URL}/cascade")).json()["versions"][0]["about"]
    assert about["stages"] == result["stages"]
    assert about["chosen"]["best_fixed"] == result["chosen"]["best_fixed"]


async def test_with_labels_the_accuracy_gap_is_told(api: Api) -> None:
    labels = await api.said_by("small", PICTURES)
    await api.controller(3.0, 0.2)
    result = await api.succeeded(await api.calibrate(PICTURES, labels=labels, **GENEROUS))
    assert result["chosen"]["temperatures_by"] == "labels"
    assert result["chosen"]["best_fixed"] == {"backbone": "small", "gflops": 0.25, "by": "labels"}
    assert result["tested"]["accuracy_gap"]["accuracy_full"] > 0.5


async def test_without_a_controller_a_cascade_is_calibrated_under_the_mean(api: Api) -> None:
    result = await api.succeeded(await api.calibrate(PICTURES, **GENEROUS))
    assert (result["controller"], result["version"]) == (None, 1)
    assert await api.policy() == ("cascade", None)


async def test_too_few_images_make_a_cascade_in_which_everybody_is_asked(api: Api) -> None:
    result = await api.succeeded(await api.calibrate(PICTURES[:10], epsilon=0.02, delta=0.1))
    assert result["images_needed"] == 227
    assert "at least 227 distinct images are needed" in result["message"]
    assert result["chosen"] is None
    assert result["stages"] == [{"backbones": ["small", "large"], "threshold": None, "temperature": 1.0}]
    for answer in await api.answers():
        assert (answer["policy"], answer["exit_reason"], answer["stages"]) == ("cascade", "last_stage", 1)
        assert list(answer["backbones"]) == ["small", "large"]


async def test_images_of_the_fit_are_dropped_from_the_calibration(api: Api) -> None:
    labels = await api.said_by("small", PICTURES[:32])
    assert (await api.succeeded(await api.fit(PICTURES[:32], labels)))["accepted"]
    result = await api.succeeded(await api.calibrate([*PICTURES[16:], *PICTURES[40:44]], **GENEROUS))
    assert (result["dropped_fitted"], result["dropped_duplicates"]) == (16, 4)


async def test_calibration_images_that_cannot_be_read_are_told(api: Api) -> None:
    labels = ["cat"] * 33
    result = await api.succeeded(await api.calibrate([*PICTURES[:32], b"broken"], labels=labels, **GENEROUS))
    assert [(each["index"], each["code"]) for each in result["skipped"]] == [(32, "invalid_image")]


async def test_when_no_calibration_image_can_be_read_everybody_is_asked(api: Api) -> None:
    result = await api.succeeded(await api.calibrate([b"one", b"two"], labels=["cat", "dog"], **GENEROUS))
    assert len(result["skipped"]) == 2
    assert "0 came: every image asks the full committee" in result["message"]
    assert {each["stages"] for each in await api.answers()} == {1}


async def test_a_newer_job_supersedes_the_one_that_waits(api: Api) -> None:
    gated, _ = await api.occupied()
    first, second = await api.calibrate(PICTURES[:4]), await api.calibrate(PICTURES[:8])
    other_kind = await api.fit(PICTURES[:1], LABELS[:1])
    assert (await api.job(first))["state"] == "cancelled"
    assert (await api.job(first))["error"]["code"] == "job_superseded"
    assert second["id"] in (await api.job(first))["error"]["message"]
    gated.gate.set()
    await api.succeeded(second)
    await api.succeeded(other_kind)


async def test_a_newer_job_supersedes_the_one_that_runs(api: Api, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"large_image": PATIENCE_S}
    first = await api.calibrate(PICTURES[:20])
    await api.begun(first)
    second = await api.calibrate(PICTURES[:20])
    fake_engine.faults.delay_s = {}
    assert (await api.ended(first))["error"]["code"] == "job_superseded"
    assert (await api.succeeded(second))["version"] == 1, "the first one activated nothing"


async def test_deleting_the_label_set_ends_its_job_and_nothing_is_left(api: Api, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"large_image": PATIENCE_S}
    job = await api.calibrate(PICTURES[:20])
    await api.begun(job)
    assert (await api.client.delete(URL)).status_code == 204
    ended = await api.ended(job)
    assert (ended["state"], ended["error"]["code"]) == ("cancelled", "label_set_changed")
    fake_engine.faults.delay_s = {}
    assert (await api.client.put(URL, json={"labels": LABELS})).status_code == 201
    error_of(await api.client.get(f"{URL}/cascade"), 404, "not_found")


async def test_new_labels_end_a_job_for_the_old_ones(api: Api) -> None:
    gated, _ = await api.occupied()
    job = await api.calibrate(PICTURES[:20])
    assert (await api.client.put(URL, json={"labels": [*LABELS, "bird"]})).status_code == 200
    gated.gate.set()
    ended = await api.ended(job)
    assert (ended["state"], ended["error"]["code"]) == ("cancelled", "label_set_changed")


async def test_the_same_labels_again_disturb_nobody(api: Api) -> None:
    gated, _ = await api.occupied()
    job = await api.calibrate(PICTURES[:20])
    assert (await api.client.put(URL, json={"labels": LABELS})).status_code == 200
    gated.gate.set()
    await api.succeeded(job)


async def test_a_job_can_be_cancelled_while_it_embeds(api: Api, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"large_image": PATIENCE_S}
    job = await api.fit(PICTURES[:20], ["cat"] * 20)
    await api.begun(job)
    assert (await api.client.delete(f"/v1/jobs/{job['id']}")).json()["state"] == "cancelled"
    fake_engine.faults.delay_s = {}
    assert (await api.ended(job))["error"]["code"] == "job_cancelled"
    assert await api.policy() == ("mean", None)


async def test_a_restart_ends_a_job_and_sending_it_again_does_it(make_app: MakeApp, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"large_image": PATIENCE_S}
    async with pets_on(make_app(engine=fake_engine, drain_timeout_s=0.01)) as api:
        job = await api.calibrate(PICTURES[:20])
        await api.begun(job)
    async with pets_on(make_app()) as api:
        ended = await api.job(job)
        assert (ended["state"], ended["error"]["code"]) == ("failed", "job_interrupted")
        await api.succeeded(await api.calibrate(PICTURES[:20]))


async def test_what_was_fitted_outlives_the_process(make_app: MakeApp) -> None:
    async with pets_on(make_app()) as api:
        await api.controller(0.5, 2.0)
        await api.cascade(0.0, controller="pets/1")
        before = await api.answers()
    async with pets_on(make_app()) as api:
        after = await api.answers()
    assert [each["predictions"] for each in after] == [each["predictions"] for each in before]
    assert {each["policy"] for each in after} == {"cascade"}


@pytest.mark.parametrize("tower", ["large_image", "large_text"])
async def test_a_backbone_that_fails_fails_the_job(api: Api, fake_engine: FakeEngine, tower: str) -> None:
    fake_engine.faults.failing = {tower}
    await api.client.put(URL, json={"labels": ["new", "labels"]})
    ended = await api.ended(await api.fit(PICTURES[:4], ["new"] * 4))
    assert (ended["state"], ended["error"]["code"]) == ("failed", "backbone_failed")


async def test_a_job_that_takes_too_long_is_stopped(make_app: MakeApp, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"large_image": PATIENCE_S}
    async with pets_on(make_app(engine=fake_engine, job_timeout_s=0.2, drain_timeout_s=0.01)) as api:
        ended = await api.ended(await api.calibrate(PICTURES[:4]))
        assert (ended["state"], ended["error"]["code"]) in [("failed", "job_timeout"), ("failed", "deadline_exceeded")]


async def test_too_many_jobs_are_refused_with_a_time_to_come_back(make_app: MakeApp) -> None:
    async with pets_on(make_app(max_queued_jobs=1, drain_timeout_s=0.01)) as api:
        await api.occupied()
        await api.calibrate(PICTURES[:1])
        body = {"examples": [{"data": "", "label": "cat"}]}
        response = await api.client.post(f"{URL}/controller", json=body)
        error_of(response, 429, "too_many_jobs")
        assert float(response.headers["retry-after"]) >= 1
