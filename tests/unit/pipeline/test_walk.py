"""One image's way from its backbones' outcomes to a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from service.deadline import deadline_error
from service.engines.base import Outcome
from service.errors import BackboneFailedError, InvalidImageError, QuorumError, UnavailableError
from service.pipeline.cascade.cascade import Cascade, Limits
from service.pipeline.controller.controller import Controller
from service.pipeline.embed import Embedded
from service.pipeline.labels import LabelLimits, make_label_set
from service.pipeline.logits import committee_probabilities, softmax, unit_rows
from service.pipeline.plan import Plan, Promise, plain_plan
from service.pipeline.walk import Decision, Walk
from service.policies import Policy
from service.repository import Zoo

LABELS = make_label_set(["cat", "dog", "bird"], None, LabelLimits(10, 10, 10))
SCALE = 20.0
LATE = deadline_error("testing")
FAILED = BackboneFailedError("large_image failed.")


def unit(width: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((3, width)).astype(np.float32)
    return unit_rows(rows)


MATRICES = {"small": unit(8, 1), "large": unit(12, 2)}
EMBEDDINGS: dict[str, Outcome] = {"small": unit(8, 3)[0], "large": unit(12, 4)[0]}


def walked(
    plan: Plan,
    outcomes: Mapping[str, Outcome] | QuorumError = EMBEDDINGS,
    *,
    cached: bool = False,
    matrices: Mapping[str, np.ndarray | QuorumError] = MATRICES,
    late_after: int = 99,
) -> Decision | QuorumError:
    """Ask until the image leaves; `late_after` rounds there is no time for more."""
    walk = Walk(plan, LABELS)
    rounds = 0
    while (step := walk.next()).ask and rounds < late_after:
        names = [plan.backbones[position].name for position in step.ask]
        given = (
            outcomes
            if isinstance(outcomes, QuorumError)
            else {name: Embedded(outcomes[name], cached) for name in names}
        )
        walk.hear(step.ask, given, matrices)
        rounds += 1
    return walk.decide(step, late=bool(step.ask))


def decided(
    zoo: Zoo, policy: Policy = "mean", outcomes: Mapping[str, Outcome] = EMBEDDINGS, cached: bool = False
) -> Decision | QuorumError:
    return walked(plain_plan(policy, zoo.backbones), outcomes, cached=cached)


def expected_logits() -> np.ndarray:
    rows = {name: row for name, row in EMBEDDINGS.items() if isinstance(row, np.ndarray)}
    return np.stack([SCALE * rows[name] @ MATRICES[name].T for name in ("small", "large")])


@pytest.mark.parametrize("policy", ["mean", "mean_logit"])
def test_a_decision_is_what_the_pure_functions_say(fake_zoo: Zoo, policy: Policy) -> None:
    decision = decided(fake_zoo, policy)
    assert isinstance(decision, Decision)
    expected = committee_probabilities("mean" if policy == "mean" else "mean_logit", expected_logits())
    assert np.allclose(decision.probabilities, expected, atol=1e-6)
    assert np.allclose(decision.cosine, expected_logits().mean(axis=0) / SCALE, atol=1e-6)
    assert decision.confidence == pytest.approx(expected.max())
    assert (decision.exit_reason, decision.degraded, decision.gflops) == ("last_stage", False, 1.75)


def test_a_single_backbone_speaks_for_itself(fake_zoo: Zoo) -> None:
    decision = walked(plain_plan("single", fake_zoo.select(["large"])))
    assert isinstance(decision, Decision)
    assert np.allclose(decision.probabilities, softmax(expected_logits()[1]), atol=1e-6)
    assert [vote.backbone.name for vote in decision.votes] == ["large"]


def test_predictions_come_best_first_and_ties_keep_the_order(fake_zoo: Zoo) -> None:
    decision = decided(fake_zoo)
    assert isinstance(decision, Decision)
    flat = replace(decision, probabilities=np.full(3, 1 / 3))
    assert [prediction.label for prediction in flat.predictions(2)] == ["cat", "dog"]
    probabilities = [prediction.probability for prediction in decision.predictions(10)]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(probabilities) == 3


def test_a_vote_names_its_own_favourite(fake_zoo: Zoo) -> None:
    decision = decided(fake_zoo)
    assert isinstance(decision, Decision)
    for vote, logits in zip(decision.votes, expected_logits(), strict=True):
        top = vote.top(LABELS)
        assert top.label == LABELS.labels[int(logits.argmax())]
        assert top.probability == pytest.approx(softmax(logits).max(), abs=1e-6)


def test_cached_votes_cost_nothing(fake_zoo: Zoo) -> None:
    decision = decided(fake_zoo, cached=True)
    assert isinstance(decision, Decision)
    assert decision.gflops == 0


@pytest.mark.parametrize(("failure", "reason"), [(FAILED, "degraded"), (LATE, "deadline")])
def test_the_others_answer_for_a_backbone_that_cannot(fake_zoo: Zoo, failure: QuorumError, reason: str) -> None:
    decision = decided(fake_zoo, outcomes=EMBEDDINGS | {"large": failure})
    assert isinstance(decision, Decision)
    assert (decision.exit_reason, decision.degraded) == (reason, reason == "degraded")
    assert np.allclose(decision.probabilities, softmax(expected_logits()[0]), atol=1e-6)
    assert decision.gflops == 0.25


def test_a_text_tower_that_fails_takes_its_backbone_out(fake_zoo: Zoo) -> None:
    decision = walked(plain_plan("mean", fake_zoo.backbones), matrices=MATRICES | {"small": FAILED})
    assert isinstance(decision, Decision)
    assert [vote.backbone.name for vote in decision.votes] == ["large"]
    assert decision.degraded


def test_when_nobody_answers_the_most_telling_failure_is_the_answer(fake_zoo: Zoo) -> None:
    gone = UnavailableError("dead")
    assert decided(fake_zoo, outcomes={"small": FAILED, "large": LATE}) is LATE
    assert decided(fake_zoo, outcomes={"small": FAILED, "large": gone}) is gone
    assert decided(fake_zoo, outcomes={"small": FAILED, "large": FAILED}) is FAILED


def test_a_broken_image_stays_broken(fake_zoo: Zoo) -> None:
    broken = InvalidImageError("broken")
    assert walked(plain_plan("mean", fake_zoo.backbones), broken) is broken


def constant(*weights: float) -> Controller:
    """A controller of small and large that gives every image the same weights."""
    t = np.log(np.expm1(np.array(weights))) - np.log(np.expm1(1.0))
    empty = np.zeros((0, 20), np.float32), np.zeros(0, np.float32), np.zeros((2, 0), np.float32)
    return Controller(("small", "large"), (8, 12), *empty, t.astype(np.float32))


def cascade_plan(zoo: Zoo, threshold: float, limits: Limits | None = None) -> Plan:
    """small first, then large, under a controller of its own and with a promise."""
    cascade = Cascade((0.25, 1.5), "probability", ((0,), (1,)), (threshold,), (2.0, 0.5))
    return Plan("cascade", zoo.backbones, constant(0.5, 2.0), cascade, "pets/3", limits or Limits(), Promise(0.02, 0.1))


def test_a_controller_weighs_votes_and_cosines(fake_zoo: Zoo) -> None:
    plan = plain_plan("mean", fake_zoo.backbones)
    decision = walked(replace(plan, policy="nlc", voice=constant(0.5, 2.0), controller="pets/3"))
    assert isinstance(decision, Decision)
    logits = expected_logits()
    assert [vote.weight for vote in decision.votes] == pytest.approx([0.5, 2.0])
    assert np.allclose(decision.probabilities, softmax((0.5 * logits[0] + 2 * logits[1]) / 2), atol=1e-5)
    assert np.allclose(decision.cosine, (0.5 * logits[0] + 2 * logits[1]) / SCALE / 2.5, atol=1e-6)
    assert (decision.policy, decision.controller, decision.promise) == ("nlc", "pets/3", None)


def test_a_confident_image_leaves_the_cascade_early(fake_zoo: Zoo) -> None:
    decision = walked(cascade_plan(fake_zoo, threshold=0.0))
    assert isinstance(decision, Decision)
    assert [vote.backbone.name for vote in decision.votes] == ["small"]
    assert (decision.exit_reason, decision.stages, decision.gflops) == ("confident", 1, 0.25)
    assert np.allclose(decision.probabilities, softmax(0.5 * expected_logits()[0] / 2.0), atol=1e-6)
    assert decision.exit_score == decision.confidence
    assert decision.promise == Promise(0.02, 0.1)


def test_an_image_in_doubt_asks_everybody(fake_zoo: Zoo) -> None:
    decision = walked(cascade_plan(fake_zoo, threshold=2.0))
    assert isinstance(decision, Decision)
    assert (decision.exit_reason, decision.stages, decision.gflops) == ("last_stage", 2, 1.75)
    logits = expected_logits()
    assert np.allclose(decision.probabilities, softmax((0.5 * logits[0] + 2 * logits[1]) / 2 / 0.5), atol=1e-5)
    assert decision.promise is not None


@pytest.mark.parametrize(
    ("limits", "reason", "stages"),
    [
        (Limits(min_confidence=1.0), "last_stage", 2),
        (Limits(max_gflops=1.0), "budget", 1),
        (Limits(members=frozenset({0})), "last_stage", 1),
    ],
)
def test_what_a_request_asks_for_besides_voids_the_promise(
    fake_zoo: Zoo, limits: Limits, reason: str, stages: int
) -> None:
    decision = walked(cascade_plan(fake_zoo, 2.0, limits))
    assert isinstance(decision, Decision)
    assert (decision.exit_reason, decision.stages, decision.promise) == (reason, stages, None)


def test_without_time_for_more_the_answer_is_what_is_known(fake_zoo: Zoo) -> None:
    decision = walked(cascade_plan(fake_zoo, threshold=2.0), late_after=1)
    assert isinstance(decision, Decision)
    assert (decision.exit_reason, decision.stages, decision.promise) == ("deadline", 1, None)


def test_a_cascade_goes_on_without_a_backbone_that_failed(fake_zoo: Zoo) -> None:
    decision = walked(cascade_plan(fake_zoo, threshold=0.0), EMBEDDINGS | {"small": FAILED})
    assert isinstance(decision, Decision)
    assert [vote.backbone.name for vote in decision.votes] == ["large"]
    assert (decision.exit_reason, decision.failed, decision.promise) == ("degraded", ("small",), None)
