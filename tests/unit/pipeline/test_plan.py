from __future__ import annotations

import pytest

from service.pipeline.cascade.cascade import Limits, next_step
from service.pipeline.plan import everyone_at_once, plain_plan
from service.policies import Policy
from service.repository import Zoo


def test_everyone_is_asked_in_one_round(fake_zoo: Zoo) -> None:
    cascade = everyone_at_once(fake_zoo.backbones)
    assert (cascade.stages, cascade.gflops_full, cascade.leaves_early) == (((0, 1),), 1.75, False)
    assert next_step(cascade, (), None).ask == (0, 1)
    assert next_step(cascade, (0, 1), None).reason == "last_stage"


@pytest.mark.parametrize(
    ("policy", "voice"), [("mean", "mean"), ("mean_logit", "mean_logit"), ("single", "mean_logit")]
)
def test_plain_policies_have_no_controller_and_promise_nothing(fake_zoo: Zoo, policy: Policy, voice: str) -> None:
    plan = plain_plan(policy, fake_zoo.backbones)
    assert (plan.policy, plan.voice, plan.controller) == (policy, voice, None)
    assert (plan.promise, plan.calibrated, plan.limits.none) == (None, None, True)


def test_limits_are_kept(fake_zoo: Zoo) -> None:
    assert plain_plan("mean", fake_zoo.backbones, Limits(max_gflops=1.0)).limits.max_gflops == 1.0
