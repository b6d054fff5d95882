"""Requests in rounds: each image decides for itself whether it leaves; nothing else of the request matters to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.deadline import Deadline, deadline_error
from service.engines.base import Outcome, Row
from service.engines.fake import FakeEngine
from service.errors import (
    BackboneFailedError,
    DeadlineExceededError,
    InvalidImageError,
    InvalidRequestError,
    QuorumError,
    UnavailableError,
)
from service.pipeline.cascade.cascade import Limits
from service.pipeline.classify import Classifier, ClassifyQuery
from service.pipeline.embed import Embedder, Image
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.labels import LabelSet
from service.pipeline.plan import Plan, plain_plan
from service.pipeline.walk import Decision
from service.repository import Zoo
from service.timings import Timings
from tests.support.fitted import PROMISE, cascade_plan, in_order, reading, trio
from tests.support.images import jpeg
from tests.support.pipeline import Observations, embedder_on
from tests.support.state import label_set

LABELS = label_set("cat", "dog", "bird", "teapot")
PICTURES = [jpeg(seed=seed) for seed in range(12)]
THRESHOLDS = (0.999, 0.95)
"""With these, some of the pictures leave at each of the three stages (a test makes sure)."""


@dataclass
class Setup:
    zoo: Zoo
    engine: FakeEngine
    embedder: Embedder
    classifier: Classifier

    def plan(self, *thresholds: float, limits: Limits | None = None) -> Plan:
        backbones = self.zoo.backbones
        controller = reading(backbones)
        return cascade_plan(backbones, *(thresholds or THRESHOLDS), limits=limits or Limits(), controller=controller)

    async def ask(
        self,
        plan: Plan,
        images: Sequence[bytes | QuorumError],
        *,
        labels: LabelSet = LABELS,
        seconds: float = 20.0,
    ) -> list[Decision | QuorumError]:
        parsed = tuple(each if isinstance(each, QuorumError) else Image.of(each) for each in images)
        return await self.classifier.classify(ClassifyQuery(parsed, labels, plan, Deadline.after(seconds)), Timings())

    async def decided(self, plan: Plan, images: Sequence[bytes], **more: Any) -> list[Decision]:
        results = await self.ask(plan, images, **more)
        assert all(isinstance(result, Decision) for result in results), results
        return [result for result in results if isinstance(result, Decision)]


def made(zoo: Zoo, embedder: Embedder, engine: FakeEngine) -> Setup:
    return Setup(zoo, engine, embedder, Classifier(embedder, LabelMatrices(embedder, max_bytes=1_000_000)))


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return trio(tmp_path)


@pytest.fixture
def setup(zoo: Zoo) -> Iterator[Setup]:
    engine = FakeEngine(zoo)
    with embedder_on(zoo, engine, Observations()) as embedder:
        yield made(zoo, embedder, engine)


@pytest.fixture
def other(zoo: Zoo) -> Iterator[Setup]:
    """The same committee without anything that the first one remembers."""
    engine = FakeEngine(zoo)
    with embedder_on(zoo, engine, Observations()) as embedder:
        yield made(zoo, embedder, engine)


def way(decision: Decision) -> tuple[list[str], str, int]:
    return [vote.backbone.name for vote in decision.votes], decision.exit_reason, decision.stages


def assert_same_answer(one: Decision, other: Decision) -> None:
    """But for the cost, which is what was still to be done."""
    assert way(one) == way(other)
    assert [vote.weight for vote in one.votes] == [vote.weight for vote in other.votes]
    assert np.array_equal(one.probabilities, other.probabilities)
    assert np.array_equal(one.cosine, other.cosine)
    assert (one.exit_score, one.promise, one.controller) == (other.exit_score, other.promise, other.controller)


async def test_images_of_one_batch_leave_one_by_one(setup: Setup) -> None:
    decisions = await setup.decided(setup.plan(), PICTURES)
    assert {decision.stages for decision in decisions} == {1, 2, 3}
    names = ["tiny", "middle", "huge"]
    for decision in decisions:
        last = decision.stages == 3
        assert way(decision) == (names[: decision.stages], "last_stage" if last else "confident", decision.stages)
        assert decision.promise == PROMISE
        assert decision.gflops == sum([0.25, 0.5, 2.0][: decision.stages])
        assert decision.gflops_spared == 2.75 - decision.gflops
        if not last:
            assert decision.exit_score >= THRESHOLDS[decision.stages - 1]


async def test_only_what_is_left_goes_on_to_the_next_backbone(setup: Setup) -> None:
    decisions = await setup.decided(setup.plan(), PICTURES)
    asked = {tower: rows for tower, rows in setup.engine.calls if tower.endswith("_image")}
    left = [sum(decision.stages >= stage for decision in decisions) for stage in (1, 2, 3)]
    assert asked == dict(zip(["tiny_image", "middle_image", "huge_image"], left, strict=True))


async def test_nobody_is_asked_for_labels_of_a_backbone_that_is_not_needed(setup: Setup) -> None:
    await setup.decided(setup.plan(0.0, 0.0), PICTURES[:3])
    assert {tower for tower, _ in setup.engine.calls} == {"tiny_image", "tiny_text"}


async def test_whom_an_image_is_sent_with_does_not_matter(setup: Setup, other: Setup) -> None:
    together = await setup.decided(setup.plan(), PICTURES)
    for picture, decision in zip(PICTURES, together, strict=True):
        (alone,) = await other.decided(other.plan(), [picture])
        assert_same_answer(alone, decision)


async def test_the_order_of_the_images_does_not_matter(setup: Setup, other: Setup) -> None:
    there = await setup.decided(setup.plan(), PICTURES)
    back = await other.decided(other.plan(), PICTURES[::-1])
    for one, two in zip(there, reversed(back), strict=True):
        assert_same_answer(one, two)


async def test_a_warm_cache_changes_the_cost_and_nothing_else(setup: Setup) -> None:
    cold = await setup.decided(setup.plan(), PICTURES)
    warm = await setup.decided(setup.plan(), PICTURES)
    for fresh, known in zip(cold, warm, strict=True):
        assert_same_answer(fresh, known)
        assert known.gflops == 0.0
        assert known.gflops_spared == fresh.gflops_spared, "spared by leaving, not by remembering"
        assert all(vote.cached for vote in known.votes)


async def test_a_cache_that_knows_more_than_was_asked_changes_no_path(setup: Setup, other: Setup) -> None:
    await setup.decided(plain_plan("mean", setup.zoo.backbones), PICTURES)
    warm = await setup.decided(setup.plan(), PICTURES)
    cold = await other.decided(other.plan(), PICTURES)
    for one, two in zip(warm, cold, strict=True):
        assert_same_answer(one, two)


def renamed(decision: Decision) -> dict[str, float]:
    return dict(zip(decision.label_set.labels, decision.probabilities, strict=True))


async def test_the_order_of_the_labels_does_not_matter(setup: Setup) -> None:
    one = await setup.decided(setup.plan(), PICTURES)
    turned = label_set(*reversed(LABELS.labels))
    two = await setup.decided(setup.plan(), PICTURES, labels=turned)
    for here, there in zip(one, two, strict=True):
        assert way(here) == way(there)
        assert renamed(here) == pytest.approx(renamed(there), abs=1e-6)
        assert [vote.weight for vote in here.votes] == pytest.approx([vote.weight for vote in there.votes], abs=1e-5)


async def test_the_order_of_the_backbones_does_not_matter(setup: Setup, other: Setup) -> None:
    """Of those in the plan; in which order a cascade asks is its own decision."""
    plan = setup.plan()
    turned = plan.backbones[::-1]
    cascade = replace(in_order(turned, *THRESHOLDS), stages=((2,), (1,), (0,)))
    one = await setup.decided(plan, PICTURES)
    two = await other.decided(replace(plan, backbones=turned, cascade=cascade), PICTURES)
    for here, there in zip(one, two, strict=True):
        assert way(here) == way(there)
        assert np.allclose(here.probabilities, there.probabilities, atol=1e-6)
        assert [vote.weight for vote in here.votes] == pytest.approx([vote.weight for vote in there.votes], abs=1e-5)


async def test_in_which_order_votes_came_is_not_in_the_answer(setup: Setup, other: Setup) -> None:
    """Offline the committee is combined in its own order; a sum rounds by its order."""
    plan = setup.plan(2.0, 2.0)
    backwards = replace(plan, cascade=replace(plan.cascade, stages=((2,), (1,), (0,))))
    one, two = await setup.decided(plan, PICTURES), await other.decided(backwards, PICTURES)
    for here, there in zip(one, two, strict=True):
        assert np.array_equal(here.probabilities, there.probabilities)
        assert np.array_equal(here.cosine, there.cosine)


async def test_a_broken_image_is_its_own_error_and_its_neighbours_walk_on(setup: Setup, other: Setup) -> None:
    unread = InvalidImageError("neither base64 nor a data URI")
    whole = await other.decided(other.plan(), PICTURES)
    results = await setup.ask(setup.plan(), [*PICTURES[:3], b"broken", unread, *PICTURES[3:]])
    assert isinstance(results[3], InvalidImageError)
    assert results[4] is unread
    for result, expected in zip([*results[:3], *results[5:]], whole, strict=True):
        assert isinstance(result, Decision)
        assert_same_answer(result, expected)


@pytest.mark.parametrize("images", [[], [InvalidImageError("x")]])
async def test_nothing_to_ask_about_asks_nobody(setup: Setup, images: list[QuorumError]) -> None:
    assert await setup.ask(setup.plan(), images) == images
    assert setup.engine.calls == []


async def test_a_backbone_that_fails_in_the_middle_is_answered_by_the_rest(setup: Setup, other: Setup) -> None:
    whole = await other.decided(other.plan(), PICTURES)
    setup.engine.faults.failing = {"middle_image"}
    results = await setup.decided(setup.plan(), PICTURES)
    for result, expected in zip(results, whole, strict=True):
        if expected.stages == 1:
            assert_same_answer(result, expected)
        else:
            assert way(result) == (["tiny", "huge"], "degraded", 3) or way(result) == (["tiny"], "degraded", 2)
            assert (result.failed, result.promise, result.degraded) == (("middle",), None, True)
    assert {result.degraded for result in results} == {True, False}


async def test_a_backbone_without_labels_is_out_as_well(setup: Setup) -> None:
    setup.engine.faults.failing = {"huge_text"}
    results = await setup.decided(setup.plan(2.0, 2.0), PICTURES[:2])
    assert [way(result) for result in results] == [(["tiny", "middle"], "degraded", 3)] * 2


async def test_when_everybody_fails_the_failure_is_told_per_image(setup: Setup) -> None:
    setup.engine.faults.failing = {"tiny_image", "middle_image", "huge_image"}
    results = await setup.ask(setup.plan(), [*PICTURES[:2], b"broken"])
    assert [type(result) for result in results] == [BackboneFailedError, BackboneFailedError, InvalidImageError]
    setup.engine.faults.dead = {"huge_image"}
    setup.engine.faults.failing = {"tiny_image", "middle_image"}
    assert isinstance((await setup.ask(setup.plan(), PICTURES[:1]))[0], UnavailableError)


async def test_a_deadline_in_the_middle_answers_with_what_is_known(setup: Setup, other: Setup) -> None:
    whole = await other.decided(other.plan(), PICTURES)
    await setup.decided(setup.plan(2.0, 2.0), [jpeg(seed=99)])  # the labels are known
    setup.engine.faults.delay_s = {"middle_image": 30.0}
    async with asyncio.timeout(10):
        results = await setup.decided(setup.plan(), PICTURES, seconds=0.5)
    for result, expected in zip(results, whole, strict=True):
        if expected.stages == 1:
            assert_same_answer(result, expected)
        else:
            names, reason, stages = way(result)
            assert (names, reason, result.promise, stages >= 1) == (["tiny"], "deadline", None, True)


async def test_nobody_is_asked_any_more_once_time_is_up(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline passes between two rounds."""
    deadline = Deadline.after(20)
    real = setup.engine.embed

    async def slow(tower: str, rows: Sequence[Row], until: Deadline) -> list[Outcome]:
        found = await real(tower, rows, until)
        if tower == "tiny_image":
            monkeypatch.setattr(Deadline, "passed", property(lambda _: True))
        return found

    monkeypatch.setattr(setup.engine, "embed", slow)
    query = ClassifyQuery((Image.of(PICTURES[0]),), LABELS, setup.plan(2.0, 2.0), deadline)
    (result,) = await setup.classifier.classify(query, Timings())
    assert isinstance(result, Decision)
    assert way(result) == (["tiny"], "deadline", 1)
    assert [tower for tower, _ in setup.engine.calls if tower.endswith("image")] == ["tiny_image"]


async def test_no_time_at_all_is_an_error_of_the_image(setup: Setup) -> None:
    async with asyncio.timeout(10):
        results = await setup.ask(setup.plan(), PICTURES[:2], seconds=0.0)
    assert [type(result) for result in results] == [DeadlineExceededError] * 2


async def test_an_image_half_known_is_answered_when_there_is_no_time_to_decode_it(setup: Setup) -> None:
    plan = plain_plan("mean", setup.zoo.backbones)
    await setup.decided(plain_plan("single", setup.zoo.select(["tiny"])), PICTURES[:1])
    await setup.decided(plan, [jpeg(seed=99)])  # the labels are known
    known, unknown = await setup.ask(plan, PICTURES[:2], seconds=0.0)
    assert isinstance(known, Decision)
    assert way(known) == (["tiny"], "deadline", 1)
    assert isinstance(unknown, DeadlineExceededError)


@pytest.mark.parametrize(
    ("limits", "names", "reason"),
    [
        (Limits(max_gflops=0.75), ["tiny", "middle"], "budget"),
        (Limits(max_gflops=0.3), ["tiny"], "budget"),
        (Limits(min_confidence=1.0), ["tiny", "middle", "huge"], "last_stage"),
        (Limits(members=frozenset({0, 2})), ["tiny", "huge"], "last_stage"),
    ],
)
async def test_limits_of_a_request_cut_the_way_short_and_void_the_promise(
    setup: Setup, limits: Limits, names: list[str], reason: str
) -> None:
    for decision in await setup.decided(setup.plan(2.0, 2.0, limits=limits), PICTURES[:3]):
        assert way(decision)[:2] == (names, reason)
        assert decision.promise is None


async def test_a_limit_that_leaves_nobody_is_the_requests_own_mistake(setup: Setup) -> None:
    with pytest.raises(InvalidRequestError, match=r"cheapest backbone costs 0\.25") as refused:
        await setup.ask(setup.plan(limits=Limits(max_gflops=0.1)), PICTURES[:1])
    assert refused.value.param == "max_gflops"


async def test_what_members_are_not_allowed_spare_nothing(setup: Setup) -> None:
    plan = setup.plan(0.0, 0.0, limits=Limits(members=frozenset({0, 1})))
    (decision,) = await setup.decided(plan, PICTURES[:1])
    assert (way(decision)[1], decision.gflops_spared) == ("confident", 0.5)


async def test_a_row_that_never_comes_back_is_late_for_its_image_alone(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = setup.engine.embed

    async def forgetful(tower: str, rows: Sequence[Row], until: Deadline) -> list[Outcome]:
        found: list[NDArray[np.float32] | QuorumError] = await real(tower, rows, until)
        return [deadline_error("testing"), *found[1:]] if tower == "middle_image" else found

    monkeypatch.setattr(setup.engine, "embed", forgetful)
    first, second = await setup.decided(setup.plan(2.0, 2.0), PICTURES[:2])
    assert way(first) == (["tiny", "huge"], "deadline", 3)
    assert way(second) == (["tiny", "middle", "huge"], "last_stage", 3)
