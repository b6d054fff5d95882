"""Checks in the background: what is sampled, when it is worked on, and what never happens to a request for it."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from service.deadline import Deadline
from service.engines.base import Outcome, Row
from service.engines.fake import FakeEngine
from service.errors import InvalidImageError, QuorumError
from service.pipeline import shadow_checks
from service.pipeline.cascade.cascade import Limits
from service.pipeline.classify import Classifier, ClassifyQuery
from service.pipeline.embed import Embedder, Image
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.plan import Plan, everyone_at_once, plain_plan
from service.pipeline.shadow import FIRST_LOOK, Tally
from service.pipeline.shadow_checks import ShadowChecks, ShadowLimits
from service.pipeline.walk import Decision
from service.repository import Zoo
from service.timings import Timings
from tests.support.fitted import PETS_1, PROMISE, cascade_plan, reading, trio
from tests.support.images import jpeg
from tests.support.jobs import until
from tests.support.pipeline import Observations, embedder_on
from tests.support.state import label_set

LABELS = label_set("cat", "dog", "bird", "teapot")
PICTURES = [jpeg(seed=seed) for seed in range(12)]
ALL = ShadowLimits(rate=1.0, gflops_per_s=1e6, max_waiting=100, poll_s=0.001)
AT_ONCE = (0.0, 0.0)
NEVER = (2.0, 2.0)


class Observer:
    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.gflops = 0.0
        self.alerts = 0

    def shadow_checked(self, outcome: str) -> None:
        self.outcomes[outcome] += 1

    def shadow_worked(self, gflops: float) -> None:
        self.gflops += gflops

    def shadow_alerted(self) -> None:
        self.alerts += 1


@dataclass
class Setup:
    zoo: Zoo
    engine: FakeEngine
    classifier: Classifier
    shadow: ShadowChecks
    observer: Observer
    room: list[bool]

    def plan(self, *thresholds: float, **changes: Any) -> Plan:
        return cascade_plan(self.zoo.backbones, *thresholds, controller=reading(self.zoo.backbones), **changes)

    async def answer(
        self, plan: Plan, images: Sequence[bytes | QuorumError] = PICTURES, seconds: float = 20.0
    ) -> tuple[ClassifyQuery, list[Decision | QuorumError]]:
        parsed = tuple(each if isinstance(each, QuorumError) else Image.of(each) for each in images)
        query = ClassifyQuery(parsed, LABELS, plan, Deadline.after(seconds))
        return query, await self.classifier.classify(query, Timings())

    async def offered(self, plan: Plan, images: Sequence[bytes | QuorumError] = PICTURES, **more: Any) -> None:
        self.shadow.offer(*await self.answer(plan, images, **more))

    async def checked(self, count: int) -> None:
        async def there() -> bool:
            return self.observer.outcomes.total() >= count

        await until(there)
        assert self.observer.outcomes.total() == count

    def tally(self) -> Tally:
        found = self.shadow.seen(PETS_1)
        assert found is not None
        return found


Make = Callable[..., AbstractAsyncContextManager[Setup]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    zoo = trio(tmp_path)

    @asynccontextmanager
    async def make(chance: Callable[[], float] = lambda: 0.0, **limits: Any) -> AsyncIterator[Setup]:
        engine, observer, room = FakeEngine(zoo), Observer(), [True]
        with embedder_on(zoo, engine, Observations()) as embedder:
            matrices = LabelMatrices(embedder, max_bytes=1_000_000)
            shadow = _shadow(embedder, matrices, replace(ALL, **limits), room, observer, chance)
            await shadow.start()
            try:
                yield Setup(zoo, engine, Classifier(embedder, matrices), shadow, observer, room)
            finally:
                await shadow.close()

    return make


def _shadow(
    embedder: Embedder,
    matrices: LabelMatrices,
    limits: ShadowLimits,
    room: list[bool],
    observer: Observer,
    chance: Callable[[], float],
) -> ShadowChecks:
    return ShadowChecks(embedder, matrices, limits, lambda: room[0], observer, chance)


async def really_disagree(setup: Setup, plan: Plan) -> int:
    """How many of the pictures the full committee answers otherwise, asked in the open."""
    full = replace(plan, cascade=everyone_at_once(plan.backbones))
    _, early = await setup.answer(plan)
    _, whole = await setup.answer(full)
    pairs = [
        (one.probabilities.argmax(), two.probabilities.argmax())
        for one, two in zip(early, whole, strict=True)
        if isinstance(one, Decision) and isinstance(two, Decision)
    ]
    assert len(pairs) == len(PICTURES)
    return sum(one != two for one, two in pairs)


async def test_every_disagreement_is_found(make: Make) -> None:
    async with make() as setup:
        await setup.offered(setup.plan(*AT_ONCE))
        await setup.checked(len(PICTURES))
        expected = await really_disagree(setup, setup.plan(*AT_ONCE))
        assert 0 < expected < len(PICTURES)
        assert setup.observer.outcomes == {"disagreed": expected, "agreed": len(PICTURES) - expected}
        assert (setup.tally().checked, setup.tally().disagreements) == (len(PICTURES), expected)
        assert setup.tally().epsilon == PROMISE.epsilon


async def test_the_work_is_what_was_not_asked_before(make: Make) -> None:
    async with make() as setup:
        await setup.offered(setup.plan(*AT_ONCE))
        await setup.checked(len(PICTURES))
        assert setup.observer.gflops == pytest.approx(len(PICTURES) * 2.5), "tiny's embeddings were in the cache"


async def test_who_asked_everybody_agrees_at_no_cost(make: Make) -> None:
    async with make() as setup:
        await setup.offered(setup.plan(*NEVER))
        calls = len(setup.engine.calls)
        await setup.checked(len(PICTURES))
        assert setup.observer.outcomes == {"agreed": len(PICTURES)}
        assert (setup.observer.gflops, len(setup.engine.calls)) == (0.0, calls)


@pytest.mark.parametrize("fault", ["late", "degraded"])
async def test_an_answer_that_was_cut_short_is_walked_again_in_full(make: Make, fault: str) -> None:
    """Left out, those would be missing who had more to ask, and the rest would look worse than it is."""
    async with make() as setup:
        await setup.answer(setup.plan(*NEVER), [jpeg(seed=99)])  # the labels are known
        if fault == "late":
            setup.engine.faults.delay_s = {"middle_image": 30.0}
        else:
            setup.engine.faults.failing = {"middle_image"}
        query, results = await setup.answer(setup.plan(2.0, 0.0), seconds=0.3 if fault == "late" else 20.0)
        assert all(isinstance(result, Decision) and result.promise is None for result in results)
        setup.engine.faults.delay_s, setup.engine.faults.failing = {}, set()
        setup.shadow.offer(query, results)
        await setup.checked(len(PICTURES))
        expected = await really_disagree(setup, setup.plan(2.0, 0.0))
        assert setup.observer.outcomes["disagreed"] == expected


async def test_what_nobody_promised_is_not_checked(make: Make) -> None:
    async with make() as setup:
        for plan in (
            plain_plan("mean", setup.zoo.backbones),
            setup.plan(*AT_ONCE, limits=Limits(min_confidence=0.5)),
            setup.plan(*AT_ONCE, limits=Limits(max_gflops=100.0)),
            setup.plan(*AT_ONCE, limits=Limits(members=frozenset({0, 1, 2}))),
            replace(setup.plan(*AT_ONCE), promise=None, calibrated=None),
        ):
            await setup.offered(plan)
        assert setup.shadow.seen(PETS_1) is None
        assert setup.shadow.worst() is None
        assert not setup.observer.outcomes


async def test_images_without_an_answer_are_no_sample(make: Make) -> None:
    async with make() as setup:
        await setup.offered(setup.plan(*AT_ONCE), [PICTURES[0], b"broken", InvalidImageError("unread"), PICTURES[1]])
        await setup.checked(2)


async def test_each_image_is_drawn_for_itself_whatever_became_of_it(make: Make) -> None:
    draws = iter([0.0, 0.5, 0.0999, 0.1, 0.99] + [1 - 1e-9] * 100)
    async with make(chance=lambda: next(draws), rate=0.1) as setup:
        await setup.offered(setup.plan(*AT_ONCE), PICTURES[:3])
        await setup.offered(setup.plan(*NEVER), PICTURES[3:5])
        await setup.checked(2)


async def test_a_rate_of_nothing_checks_nothing(make: Make) -> None:
    async with make(rate=0.0) as setup:
        await setup.offered(setup.plan(*AT_ONCE))
        assert not setup.observer.outcomes


async def test_an_answer_waits_for_no_check(make: Make) -> None:
    async with make() as setup:
        query, results = await setup.answer(setup.plan(*AT_ONCE))
        calls = len(setup.engine.calls)
        setup.shadow.offer(query, results)
        assert len(setup.engine.calls) == calls, "nothing was done before the answer could be sent"
        await setup.checked(len(PICTURES))


async def test_one_row_of_one_backbone_is_asked_at_a_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async with make() as setup:
        query, results = await setup.answer(setup.plan(*AT_ONCE))
        at_work, most = 0, 0
        real = setup.engine.embed

        async def watched(tower: str, rows: Sequence[Row], deadline: Deadline) -> list[Outcome]:
            nonlocal at_work, most
            at_work += len(rows) if tower.endswith("image") else 0
            most = max(most, at_work)
            await asyncio.sleep(0.001)
            found = await real(tower, rows, deadline)
            at_work -= len(rows) if tower.endswith("image") else 0
            return found

        monkeypatch.setattr(setup.engine, "embed", watched)
        setup.shadow.offer(query, results)
        await setup.checked(len(PICTURES))
        assert most == 1


async def test_while_many_requests_are_in_flight_nothing_is_sampled(make: Make) -> None:
    async with make() as setup:
        setup.room[0] = False
        await setup.offered(setup.plan(*AT_ONCE), PICTURES[:3])
        await setup.offered(setup.plan(*NEVER), PICTURES[3:5])
        assert setup.observer.outcomes == {"dropped": 5}, "whatever way they took"


async def test_work_waits_until_there_is_room_again(make: Make) -> None:
    async with make() as setup:
        query, results = await setup.answer(setup.plan(*AT_ONCE), PICTURES[:1])
        calls = len(setup.engine.calls)
        setup.shadow.offer(query, results)
        setup.room[0] = False
        await asyncio.sleep(0.05)
        assert len(setup.engine.calls) == calls
        assert not setup.observer.outcomes
        setup.room[0] = True
        await setup.checked(1)


async def test_what_found_no_room_in_time_is_let_go(make: Make) -> None:
    async with make(max_wait_s=0.05) as setup:
        query, results = await setup.answer(setup.plan(*AT_ONCE), PICTURES[:3])
        setup.shadow.offer(query, results)
        setup.room[0] = False
        await setup.checked(3)
        assert setup.observer.outcomes == {"dropped": 3}


async def test_few_may_wait_and_who_agrees_for_free_waits_as_well(make: Make) -> None:
    """Else, under load, those would be dropped who left early, and the rest would be all agreement."""
    async with make(max_waiting=2) as setup:
        early, whole = await setup.answer(setup.plan(*AT_ONCE)), await setup.answer(setup.plan(*NEVER))
        setup.shadow.offer(*early)
        setup.shadow.offer(*whole)
        assert setup.observer.outcomes == {"dropped": 2 * len(PICTURES) - 2}
        await setup.checked(2 * len(PICTURES))


async def test_the_budget_holds_and_what_waits_for_it_too_long_is_let_go(make: Make) -> None:
    async with make(gflops_per_s=0.01, max_wait_s=0.2) as setup:
        query, results = await setup.answer(setup.plan(*AT_ONCE))
        setup.shadow.offer(query, results)
        await setup.checked(len(PICTURES))
        assert setup.observer.gflops == 2.5, "one check, and then a pause of minutes"
        assert setup.observer.outcomes["dropped"] == len(PICTURES) - 1


async def test_images_are_let_go_with_their_check(make: Make) -> None:
    async with make() as setup:
        query, results = await setup.answer(setup.plan(*AT_ONCE))
        kept = _Traced.of(query)
        setup.shadow.offer(replace(query, images=tuple(kept)), results)
        traces = [weakref.ref(image) for image in kept]
        del query, results, kept
        await setup.checked(len(PICTURES))
        await asyncio.sleep(0.01)
        gc.collect()
        assert not [trace for trace in traces if trace() is not None]


class _Traced(Image):
    """An image that can be referred to weakly."""

    __slots__ = ("__weakref__",)

    @classmethod
    def of(cls, query: Any) -> list[Any]:  # type: ignore[override]  # another way to make them
        return [cls(image.data, image.digest) for image in query.images]


@pytest.mark.parametrize("tower", ["huge_image", "huge_text"])
async def test_a_backbone_that_does_not_answer_is_no_verdict(make: Make, tower: str) -> None:
    async with make() as setup:
        setup.engine.faults.failing = {tower}
        await setup.offered(setup.plan(*AT_ONCE), PICTURES[:3])
        await setup.checked(3)
        assert setup.observer.outcomes == {"failed": 3}
        assert setup.tally().checked == 0
        setup.engine.faults.failing = set()
        await setup.offered(setup.plan(*AT_ONCE), PICTURES[:3])
        await setup.checked(6)
        assert setup.tally().checked == 3


async def test_a_bug_is_logged_and_the_next_check_goes_on(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with make() as setup:
        real, calls = setup.shadow._embed, iter([1])

        async def buggy(*arguments: Any) -> Any:
            if next(calls, None):
                raise ZeroDivisionError
            return await real(*arguments)

        monkeypatch.setattr(setup.shadow, "_embed", buggy)
        await setup.offered(setup.plan(*AT_ONCE), PICTURES[:2])
        await setup.checked(2)
        assert setup.observer.outcomes["failed"] == 1
        assert "ZeroDivisionError" in caplog.text


async def test_an_alert_is_counted_and_logged_once_with_the_cascades_name(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    async with make() as setup:
        with caplog.at_level(logging.WARNING):
            plan = setup.plan(*AT_ONCE)
            for _ in range(3):
                await setup.offered(plan)
            await setup.checked(3 * len(PICTURES))
        tally = setup.tally()
        assert tally.checked >= FIRST_LOOK
        assert tally.alert
        assert setup.observer.alerts == 1
        (record,) = caplog.records
        assert vars(record)["cascade"] == "pets/1"
        assert vars(record)["lower_bound"] > vars(record)["epsilon"] == PROMISE.epsilon
        worst = setup.shadow.worst()
        assert worst is not None
        assert worst.excess == tally.excess > 0


async def test_another_calibration_begins_anew_and_the_old_one_no_longer_counts(make: Make) -> None:
    async with make() as setup:
        await setup.offered(setup.plan(*AT_ONCE), PICTURES[:2])
        await setup.checked(2)
        late, results = await setup.answer(setup.plan(*AT_ONCE), PICTURES[:1])
        newer = replace(PETS_1, version=2)
        setup.shadow.offer(late, results)
        await setup.offered(setup.plan(*NEVER, calibrated=newer), PICTURES[2:3])
        await setup.checked(4)
        assert setup.shadow.seen(PETS_1) is None
        seen = setup.shadow.seen(newer)
        assert seen is not None
        assert seen.checked == 1


async def test_the_worst_of_several_is_the_one_that_breaks_its_promise_most(make: Make) -> None:
    async with make() as setup:
        other = replace(PETS_1, label_set="cars")
        await setup.offered(setup.plan(*NEVER))
        await setup.offered(setup.plan(*AT_ONCE, calibrated=other))
        await setup.checked(2 * len(PICTURES))
        worst, cars = setup.shadow.worst(), setup.shadow.seen(other)
        assert worst is not None
        assert cars is not None
        assert worst.disagreements == cars.disagreements > 0
        setup.shadow.forget("cars")
        worst = setup.shadow.worst()
        assert worst is not None
        assert worst.disagreements == 0
        setup.shadow.forget("never seen")


async def test_a_cascade_that_is_not_used_any_more_alarms_nobody_and_keeps_its_counts(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another gateway deleted it: here it is only not asked for any more."""
    monkeypatch.setattr(shadow_checks, "SPEAKS_FOR_S", 0.2)
    async with make() as setup:
        plan = setup.plan(*AT_ONCE)
        await setup.offered(plan, PICTURES[:1])
        await setup.checked(1)
        assert setup.shadow.worst() is not None

        async def silent() -> bool:
            return setup.shadow.worst() is None

        await until(silent)
        assert setup.tally().checked == 1
        await setup.offered(plan, PICTURES[1:2])
        assert setup.shadow.worst() is not None


async def test_what_is_shown_is_a_copy(make: Make) -> None:
    async with make() as setup:
        await setup.offered(setup.plan(*NEVER), PICTURES[:1])
        setup.tally().count(agrees=False)
        await setup.checked(1)
        assert setup.tally().disagreements == 0


async def test_closing_ends_a_check_in_the_middle(make: Make) -> None:
    async with make() as setup:
        setup.engine.faults.delay_s = {"huge_image": 20.0}
        await setup.offered(setup.plan(*AT_ONCE), PICTURES[:3])
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await setup.shadow.close()
        assert not setup.observer.outcomes
        assert [task for task in asyncio.all_tasks() if task.get_name() == "shadow checks"] == []
