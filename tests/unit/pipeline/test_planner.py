"""From a wish to a plan, for every policy and everything that may have been fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.deadline import Deadline
from service.errors import ConflictError, InvalidRequestError, UnknownBackboneError
from service.pipeline.cascade.cascade import Limits
from service.pipeline.plan import Plan
from service.pipeline.planner import Fitted, FittedCascade, FittedController, Planner, Standing, Wish
from service.policies import Policy
from service.repository import Zoo, load_zoo
from service.stores.base import StoredLabelSet
from tests.support.fitted import NOW, PETS_1, PROMISE, about, constant, in_order
from tests.support.repository import DEFAULT_SPECS, Spec, write_repository
from tests.support.state import PETS

STORED = StoredLabelSet("pets", PETS, NOW, NOW)


class Source:
    """What was fitted, and how often it was asked."""

    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted
        self.asked = 0

    async def of(self, stored: StoredLabelSet, deadline: Deadline) -> Fitted:
        assert stored.name == "pets"
        assert deadline.remaining_s > 0
        self.asked += 1
        return self.fitted


@pytest.fixture
def controller(fake_zoo: Zoo) -> FittedController:
    return FittedController("pets/3", 3, constant(fake_zoo.backbones, 0.5, 2.0))


@pytest.fixture
def cascade(fake_zoo: Zoo) -> FittedCascade:
    return FittedCascade(PETS_1, ("small", "large"), in_order(fake_zoo.backbones, 0.8), PROMISE)


async def planned(zoo: Zoo, fitted: Fitted | None = None, stored: StoredLabelSet | None = STORED, **wish: Any) -> Plan:
    source = Source(fitted or Fitted())
    return await Planner(zoo, source).plan(Wish(**wish), stored, Deadline.after(5))


async def test_without_a_label_set_or_anything_fitted_it_is_the_mean(
    fake_zoo: Zoo, controller: FittedController
) -> None:
    plans = [await planned(fake_zoo), await planned(fake_zoo, policy="nlc")]
    plans.append(await planned(fake_zoo, Fitted(controller), stored=None))
    for plan in plans:
        assert (plan.policy, plan.voice, plan.controller, plan.promise) == ("mean", "mean", None, None)
        assert plan.backbones == fake_zoo.backbones


@pytest.mark.parametrize("policy", [None, "nlc"])
async def test_a_controller_speaks_unless_something_else_is_asked_for(
    fake_zoo: Zoo, controller: FittedController, policy: Policy | None
) -> None:
    plan = await planned(fake_zoo, Fitted(controller), policy=policy)
    assert (plan.policy, plan.voice, plan.controller) == ("nlc", controller.controller, "pets/3")
    assert (plan.cascade.stages, plan.promise) == (((0, 1),), None)


@pytest.mark.parametrize("policy", [None, "cascade"])
async def test_a_calibrated_cascade_comes_first(
    fake_zoo: Zoo, controller: FittedController, cascade: FittedCascade, policy: Policy | None
) -> None:
    plan = await planned(fake_zoo, Fitted(controller, cascade), policy=policy)
    assert (plan.policy, plan.voice, plan.controller) == ("cascade", controller.controller, "pets/3")
    assert (plan.cascade, plan.promise, plan.calibrated) == (cascade.cascade, PROMISE, PETS_1)
    assert plan.limits.none


async def test_a_cascade_under_the_plain_mean_names_no_controller(fake_zoo: Zoo, cascade: FittedCascade) -> None:
    plan = await planned(fake_zoo, Fitted(None, cascade))
    assert (plan.policy, plan.voice, plan.controller) == ("cascade", "mean", None)


async def test_a_cascade_keeps_its_own_order_of_backbones(fake_zoo: Zoo, cascade: FittedCascade) -> None:
    turned = replace(cascade, backbones=("large", "small"), cascade=in_order(fake_zoo.backbones[::-1], 0.8))
    plan = await planned(fake_zoo, Fitted(None, turned), backbones=("small",))
    assert [backbone.name for backbone in plan.backbones] == ["large", "small"]
    assert plan.limits.members == frozenset({1})


async def test_whoever_asks_for_nlc_gets_no_cascade(
    fake_zoo: Zoo, controller: FittedController, cascade: FittedCascade
) -> None:
    assert (await planned(fake_zoo, Fitted(controller, cascade), policy="nlc")).policy == "nlc"


@pytest.mark.parametrize("policy", ["mean", "mean_logit"])
async def test_plain_policies_do_not_even_look(fake_zoo: Zoo, controller: FittedController, policy: Policy) -> None:
    source = Source(Fitted(controller))
    plan = await Planner(fake_zoo, source).plan(Wish(policy=policy), STORED, Deadline.after(5))
    assert (plan.policy, plan.controller, source.asked) == (policy, None, 0)


@pytest.mark.parametrize(
    ("wish", "limits"),
    [
        ({"max_gflops": 1.0}, Limits(max_gflops=1.0)),
        ({"min_confidence": 0.9}, Limits(min_confidence=0.9)),
        ({"backbones": ("large",)}, Limits(members=frozenset({1}))),
        ({"backbones": ("small", "large")}, Limits(members=frozenset({0, 1}))),
    ],
)
async def test_every_override_of_a_cascade_is_a_limit(
    fake_zoo: Zoo, cascade: FittedCascade, wish: dict[str, Any], limits: Limits
) -> None:
    plan = await planned(fake_zoo, Fitted(None, cascade), **wish)
    assert (plan.limits, plan.limits.none) == (limits, False)
    assert plan.backbones == fake_zoo.backbones, "positions stay those of the calibration"


async def test_without_a_cascade_min_confidence_makes_one_that_promises_nothing(
    fake_zoo: Zoo, controller: FittedController
) -> None:
    for policy in (None, "cascade"):
        plan = await planned(fake_zoo, Fitted(controller), policy=policy, min_confidence=0.9)
        assert (plan.policy, plan.controller, plan.promise, plan.calibrated) == ("cascade", "pets/3", None, None)
        assert plan.cascade.stages == ((0,), (1,))
        assert plan.limits.min_confidence == 0.9


async def test_nlc_of_a_subset_is_weighed_among_itself(fake_zoo: Zoo, controller: FittedController) -> None:
    plan = await planned(fake_zoo, Fitted(controller), backbones=("large",), max_gflops=2.0)
    assert [backbone.name for backbone in plan.backbones] == ["large"]
    assert (plan.policy, plan.limits.max_gflops) == ("nlc", 2.0)


async def test_a_cascade_that_was_never_calibrated_is_a_conflict_that_says_what_to_do(fake_zoo: Zoo) -> None:
    for stored in (STORED, None):
        with pytest.raises(
            ConflictError, match=r"No cascade is calibrated.*POST /v1/label-sets/\{name\}/cascade"
        ) as it:
            await planned(fake_zoo, stored=stored, policy="cascade")
        assert it.value.param == "policy"


async def test_a_cascade_that_does_not_apply_is_a_conflict_with_its_reason(
    fake_zoo: Zoo, controller: FittedController
) -> None:
    standing = Standing(about({}, kind="cascade", version=4), "It was calibrated under another one.")
    fitted = Fitted(controller, None, {"cascade": standing})
    with pytest.raises(ConflictError, match=r"The cascade pets/4 does not apply\. It was calibrated under another one"):
        await planned(fake_zoo, fitted, policy="cascade")
    assert (await planned(fake_zoo, fitted)).policy == "nlc", "by default the next best"


@pytest.mark.parametrize("policy", ["mean", "mean_logit", "single", "nlc"])
async def test_min_confidence_without_a_cascade_is_refused(fake_zoo: Zoo, policy: Policy) -> None:
    with pytest.raises(InvalidRequestError, match=f"not {policy}") as refused:
        await planned(fake_zoo, policy=policy, min_confidence=0.5, backbones=("small",))
    assert refused.value.param == "min_confidence"


@pytest.mark.parametrize("policy", [None, "nlc"])
async def test_a_generic_controller_speaks_for_labels_that_were_sent_with_the_request(
    fake_zoo: Zoo, policy: Policy | None
) -> None:
    generic = FittedController("generic@abc", None, constant(fake_zoo.backbones, 2.0, 0.5))
    plan = await Planner(fake_zoo, Source(Fitted()), generic).plan(Wish(policy=policy), None, Deadline.after(5))
    assert (plan.policy, plan.voice, plan.controller) == ("nlc", generic.controller, "generic@abc")
    assert (plan.cascade.stages, plan.promise, plan.calibrated) == (((0, 1),), None, None)


async def test_beside_a_generic_controller_a_cascade_still_needs_a_calibration(fake_zoo: Zoo) -> None:
    generic = FittedController("generic@abc", None, constant(fake_zoo.backbones, 2.0, 0.5))
    planner = Planner(fake_zoo, Source(Fitted()), generic)
    with pytest.raises(ConflictError, match="No cascade is calibrated"):
        await planner.plan(Wish(policy="cascade"), None, Deadline.after(5))
    plan = await planner.plan(Wish(min_confidence=0.9), None, Deadline.after(5))
    assert (plan.policy, plan.controller, plan.promise) == ("cascade", "generic@abc", None)


@pytest.mark.parametrize("policy", ["mean", "mean_logit", "single"])
async def test_plain_policies_know_no_generic_controller(fake_zoo: Zoo, policy: Policy) -> None:
    generic = FittedController("generic@abc", None, constant(fake_zoo.backbones, 2.0, 0.5))
    wish = Wish(policy=policy, backbones=("small",))
    plan = await Planner(fake_zoo, Source(Fitted()), generic).plan(wish, None, Deadline.after(5))
    assert (plan.policy, plan.controller) == (policy, None)


async def test_an_unknown_backbone_is_refused(fake_zoo: Zoo) -> None:
    with pytest.raises(UnknownBackboneError):
        await planned(fake_zoo, backbones=("small", "stranger"))


@pytest.fixture
def zoo_with_a_variant(tmp_path: Path) -> Zoo:
    return load_zoo(write_repository(tmp_path, [*DEFAULT_SPECS, Spec("variant", gflops=0.5, votes="when_asked")]))


async def test_who_votes_when_asked_is_not_asked_unless_named(zoo_with_a_variant: Zoo) -> None:
    assert [backbone.name for backbone in (await planned(zoo_with_a_variant)).backbones] == ["small", "large"]
    plan = await planned(zoo_with_a_variant, backbones=("variant", "large"))
    assert [backbone.name for backbone in plan.backbones] == ["variant", "large"]


async def test_what_was_fitted_for_the_committee_has_no_say_over_others(
    zoo_with_a_variant: Zoo, controller: FittedController, cascade: FittedCascade
) -> None:
    for fitted in (Fitted(controller), Fitted(controller, cascade)):
        plan = await planned(zoo_with_a_variant, fitted, backbones=("small", "variant"))
        assert (plan.policy, plan.controller, plan.promise) == ("mean", None, None)
    unsure = await planned(
        zoo_with_a_variant, Fitted(controller, cascade), backbones=("small", "variant"), min_confidence=0.9
    )
    assert (unsure.policy, unsure.voice, unsure.promise) == ("cascade", "mean", None)


async def test_a_cascade_over_somebody_it_does_not_know_is_a_conflict_that_names_them(
    zoo_with_a_variant: Zoo, cascade: FittedCascade
) -> None:
    with pytest.raises(ConflictError, match='with the committee, which "variant" is no member of'):
        await planned(zoo_with_a_variant, Fitted(None, cascade), backbones=("variant",), policy="cascade")
