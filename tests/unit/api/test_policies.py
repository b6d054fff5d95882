"""`POST /v1/classify` with what was fitted: who answers by default, what can be asked for, what voids the promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp
from tests.support.api import LABELS, classify, classify_call, classify_one, error_of, probabilities
from tests.support.asgi import metric
from tests.support.fitted import cascade_content, controller_content, damaged
from tests.support.fitting import PICTURES, URL, Api, pets_on
from tests.support.images import jpeg
from tests.support.jobs import unreachable
from tests.support.state import content

PROMISE = {"epsilon": 0.02, "delta": 0.1}


@pytest.fixture
async def api(make_app: MakeApp, fake_engine: FakeEngine) -> AsyncIterator[Api]:
    async with pets_on(make_app(engine=fake_engine)) as api:
        yield api


async def threshold(api: Api) -> float:
    """A score that half of the pictures reach after the first backbone."""
    alone = await api.answers(PICTURES[:16], policy="cascade", min_confidence=0.0)
    assert {each["stages"] for each in alone} == {1}
    scores = sorted(each["exit_score"] for each in alone)
    return float(scores[8] + scores[7]) / 2


async def test_a_controller_weighs_what_the_backbones_say(api: Api) -> None:
    await api.controller(0.5, 2.0)
    (plain,) = await api.answers(PICTURES[:1], policy="mean_logit")
    (weighed,) = await api.answers(PICTURES[:1])
    assert (weighed["policy"], weighed["controller"], weighed["promise"]) == ("nlc", "pets/1", None)
    weights = {name: vote["weight"] for name, vote in weighed["backbones"].items()}
    assert weights == {"small": pytest.approx(0.5), "large": pytest.approx(2.0)}
    assert probabilities(weighed) != probabilities(plain)
    (asked,) = await api.answers(PICTURES[:1], policy="nlc")
    assert probabilities(asked) == probabilities(weighed)


async def test_a_controller_is_of_its_label_set_alone(api: Api) -> None:
    await api.controller(0.5, 2.0)
    inline = await classify_one(api.client, PICTURES[0], labels=LABELS, policy="nlc")
    assert (inline["policy"], inline["controller"]) == ("mean", None)
    await api.client.put("/v1/label-sets/other", json={"labels": LABELS})
    other = await classify_one(api.client, PICTURES[0], label_set="other")
    assert other["policy"] == "mean"


async def test_images_of_one_request_leave_the_cascade_one_by_one(api: Api) -> None:
    await api.cascade(await threshold(api))
    answer = await classify(api.client, *PICTURES[:16], label_set="pets")
    early = [each for each in answer["results"] if each["exit_reason"] == "confident"]
    late = [each for each in answer["results"] if each["exit_reason"] == "last_stage"]
    assert len(early) + len(late) == 16
    assert early
    assert late
    assert all((each["stages"], list(each["backbones"])) == (1, ["small"]) for each in early)
    assert all((each["stages"], list(each["backbones"])) == (2, ["small", "large"]) for each in late)
    for each in answer["results"]:
        assert (each["policy"], each["promise"], each["gflops_full"]) == ("cascade", PROMISE, 1.75)
    assert answer["usage"]["backbone_calls"] == {"large": len(late)}, "small's answers were known"


async def test_the_answer_that_everybody_gave_is_the_full_committees(api: Api) -> None:
    """Temperatures of stages change how sure it is, never what it says."""
    await api.cascade(2.0)
    for through, together in zip(await api.answers(), await api.answers(policy="mean"), strict=True):
        assert [each["label"] for each in through["predictions"]] == [each["label"] for each in together["predictions"]]


@pytest.mark.parametrize(
    ("override", "stages", "reason"),
    [
        ({"min_confidence": 0.0}, 1, "confident"),
        ({"min_confidence": 1.0}, 2, "last_stage"),
        ({"max_gflops": 100.0}, 1, "confident"),
        ({"backbones": ["small", "large"]}, 1, "confident"),
        ({"backbones": ["large"]}, 1, "last_stage"),
    ],
)
@pytest.mark.parametrize("policy", [None, "cascade"])
async def test_every_override_voids_the_promise(
    api: Api, override: dict[str, Any], stages: int, reason: str, policy: str | None
) -> None:
    await api.cascade(0.0)
    wish = override if policy is None else {**override, "policy": policy}
    for each in await api.answers(**wish):
        assert (each["policy"], each["promise"]) == ("cascade", None)
        assert (each["stages"], each["exit_reason"]) == (stages, reason)


async def test_min_confidence_raises_thresholds_and_never_lowers_them(api: Api) -> None:
    await api.cascade(2.0)
    assert {each["stages"] for each in await api.answers(min_confidence=0.0)} == {2}


async def test_a_budget_ends_the_way_and_says_so(api: Api) -> None:
    await api.cascade(2.0)
    for each in await api.answers(max_gflops=1.0):
        assert (each["exit_reason"], list(each["backbones"]), each["promise"]) == ("budget", ["small"], None)
    refused = await api.client.post("/v1/classify", json=classify_call(PICTURES[0], label_set="pets", max_gflops=0.1))
    assert error_of(refused, 422, "invalid_request")["param"] == "max_gflops"


@pytest.mark.parametrize("policy", ["mean", "nlc"])
async def test_a_budget_without_a_cascade_asks_the_cheapest(api: Api, policy: str) -> None:
    await api.controller(0.5, 2.0)
    for each in await api.answers(max_gflops=1.0, policy=policy):
        assert (each["policy"], each["exit_reason"], list(each["backbones"])) == (policy, "budget", ["small"])


async def test_a_deadline_keeps_what_is_known_and_voids_the_promise(api: Api, fake_engine: FakeEngine) -> None:
    await api.cascade(2.0)
    await api.answers(PICTURES[10:11])  # the labels are known
    fake_engine.faults.delay_s = {"large_image": 30.0}
    for each in await api.answers(deadline_ms=500):
        assert (each["exit_reason"], list(each["backbones"]), each["promise"]) == ("deadline", ["small"], None)
        assert each["failed"] == ["large"]


async def test_a_backbone_that_fails_in_the_middle_is_answered_by_the_rest(api: Api, fake_engine: FakeEngine) -> None:
    await api.cascade(await threshold(api))
    fake_engine.faults.failing = {"large_image"}
    results = await api.answers(PICTURES[:16])
    early = [each for each in results if each["exit_reason"] == "confident"]
    cut = [each for each in results if each["exit_reason"] == "degraded"]
    assert len(early) + len(cut) == 16
    assert all(each["promise"] == PROMISE and not each["degraded"] for each in early)
    for each in cut:
        assert (each["degraded"], each["failed"], each["promise"]) == (True, ["large"], None)
        assert list(each["backbones"]) == ["small"]
    text = (await api.client.get("/metrics")).text
    assert metric(text, "quorum_images_total", exit_reason="degraded") == len(cut) > 0


async def test_a_first_backbone_that_fails_is_made_up_for_by_the_next(api: Api, fake_engine: FakeEngine) -> None:
    await api.cascade(0.0)
    fake_engine.faults.failing = {"small_image"}
    for each in await api.answers():
        assert (each["exit_reason"], list(each["backbones"]), each["failed"]) == ("degraded", ["large"], ["small"])


async def test_broken_images_are_theirs_alone(api: Api) -> None:
    await api.cascade(await threshold(api))
    whole = await api.answers(PICTURES[:6])
    mixed = (await classify(api.client, PICTURES[0], b"broken", *PICTURES[1:6], label_set="pets"))["results"]
    assert mixed[1]["error"]["code"] == "invalid_image"
    assert [each["predictions"] for each in [mixed[0], *mixed[2:]]] == [each["predictions"] for each in whole]


async def test_what_came_before_in_the_cache_changes_no_way(api: Api) -> None:
    await api.cascade(await threshold(api))
    await api.answers(PICTURES[:16], policy="mean")  # everybody knows every picture
    for known, fresh in zip(await api.answers(PICTURES[:16]), await api.answers(PICTURES[:16]), strict=True):
        assert known == fresh
        assert known["gflops"] == 0.0
        assert known["stages"] == len(known["backbones"])


async def test_without_a_cache_the_ways_are_the_same(make_app: MakeApp, api: Api) -> None:
    await api.cascade(await threshold(api))
    with_cache = await api.answers(PICTURES[:8])
    async with pets_on(make_app(cache_max_bytes=0)) as bare:
        without = await bare.answers(PICTURES[:8])
    for one, two in zip(with_cache, without, strict=True):
        for same in ("predictions", "exit_score", "stages", "exit_reason", "promise"):
            assert one[same] == two[same]


async def test_whom_an_image_is_sent_with_changes_nothing(api: Api) -> None:
    await api.cascade(await threshold(api))
    fresh = [jpeg(seed=seed) for seed in range(100, 108)]
    together = await api.answers(fresh)
    for picture, expected in zip(fresh, together, strict=True):
        (alone,) = await api.answers([picture])
        assert alone["predictions"] == expected["predictions"]
        assert (alone["stages"], alone["exit_reason"]) == (expected["stages"], expected["exit_reason"])


async def test_the_order_in_which_backbones_are_named_changes_nothing(api: Api) -> None:
    await api.controller(0.5, 2.0)
    one = await api.answers(backbones=["small", "large"])
    two = await api.answers(backbones=["large", "small"])
    assert [each["predictions"] for each in one] == [each["predictions"] for each in two]


async def test_a_cascade_that_nobody_calibrated_is_a_conflict_with_the_way_to_get_one(api: Api) -> None:
    for fields in ({"label_set": "pets"}, {"labels": LABELS}):
        call = classify_call(PICTURES[0], policy="cascade", **fields)
        error = error_of(await api.client.post("/v1/classify", json=call), 409, "conflict")
        assert error["param"] == "policy"
        assert error["message"] == (
            "No cascade is calibrated for these labels. Calibrate one with POST /v1/label-sets/{name}/cascade, choose "
            "another policy, or send min_confidence (then without promise)."
        )


async def test_min_confidence_makes_a_cascade_without_promise_of_anything(api: Api) -> None:
    sure = await classify_one(api.client, PICTURES[0], min_confidence=1.0)
    assert (sure["policy"], sure["exit_reason"], sure["stages"], sure["promise"]) == ("cascade", "last_stage", 2, None)
    quick = await classify_one(api.client, PICTURES[0], min_confidence=0.0, policy="cascade")
    assert (quick["exit_reason"], list(quick["backbones"]), quick["promise"]) == ("confident", ["small"], None)


@pytest.mark.parametrize("policy", ["mean", "mean_logit", "nlc"])
async def test_min_confidence_with_another_policy_is_refused(api: Api, policy: str) -> None:
    call = classify_call(PICTURES[0], policy=policy, min_confidence=0.5)
    error = error_of(await api.client.post("/v1/classify", json=call), 422, "invalid_request")
    assert (error["param"], f"not {policy}" in error["message"]) == ("min_confidence", True)


async def test_a_refused_call_asks_nobody(api: Api, fake_engine: FakeEngine) -> None:
    calls = list(fake_engine.calls)
    await api.client.post("/v1/classify", json=classify_call(PICTURES[0], label_set="pets", policy="cascade"))
    await api.client.post("/v1/classify", json=classify_call(PICTURES[0], policy="nlc", min_confidence=0.5))
    assert fake_engine.calls == calls


async def test_a_damaged_controller_is_left_aside_and_said_to_be(api: Api) -> None:
    await api.store("controller", damaged(controller_content(api.services.zoo, 0.5, 2.0)))
    assert await api.policy() == ("mean", None)
    shown = (await api.client.get(URL)).json()["controller"]
    assert (shown["applies"], "damaged" in shown["reason"]) == (False, True)
    (version,) = (await api.client.get(f"{URL}/controller")).json()["versions"]
    assert (version["active"], version["applies"], version["reason"]) == (True, False, shown["reason"])
    await api.controller(0.5, 2.0)
    assert await api.policy() == ("nlc", "pets/2")


async def test_a_damaged_cascade_is_left_aside_and_said_to_be(api: Api) -> None:
    await api.store("cascade", damaged(cascade_content(api.services.zoo, 0.0)))
    assert await api.policy() == ("mean", None)
    call = classify_call(PICTURES[0], label_set="pets", policy="cascade")
    error = error_of(await api.client.post("/v1/classify", json=call), 409, "conflict")
    assert error["message"].startswith("The cascade pets/1 does not apply. What is stored of it is damaged.")
    (version,) = (await api.client.get(f"{URL}/cascade")).json()["versions"]
    assert (version["applies"], "damaged" in version["reason"]) == (False, True)


@pytest.mark.parametrize("kind", ["controller", "cascade"])
async def test_what_another_version_of_the_program_stored_breaks_nothing(api: Api, kind: Any) -> None:
    await api.store(kind, content())
    assert await api.policy() == ("mean", None)
    shown = (await api.client.get(URL)).json()[kind]
    assert (shown["applies"], "another version of this program" in shown["reason"]) == (False, True)
    (version,) = (await api.client.get(f"{URL}/{kind}")).json()["versions"]
    assert (version["applies"], version["about"]) == (False, {})


async def test_the_state_that_cannot_be_read_is_a_503_and_not_the_mean(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer under another policy than usual, without a word, would be worse than none."""

    async def no_state(_: str) -> None:
        raise unreachable()

    monkeypatch.setattr(api.services.artefacts, "active", no_state)
    call = classify_call(PICTURES[0], label_set="pets")
    error_of(await api.client.post("/v1/classify", json=call), 503, "unavailable")
    assert (await api.answers(policy="mean"))[0]["policy"] == "mean", "who asks for the mean needs no state"
