from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from service.deadline import Deadline, deadline_error
from service.engines.base import Outcome
from service.errors import BackboneFailedError, InvalidImageError, QuorumError, UnavailableError
from service.pipeline.classify import ClassifyQuery, Decision, decide
from service.pipeline.embed import Embedded
from service.pipeline.labels import LabelLimits, make_label_set
from service.pipeline.logits import committee_probabilities, softmax, unit_rows
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


def query(zoo: Zoo, policy: Policy = "mean", backbones: list[str] | None = None) -> ClassifyQuery:
    return ClassifyQuery((), LABELS, policy, zoo.select(backbones), Deadline.after(5))


def decided(
    zoo: Zoo, policy: Policy = "mean", outcomes: Mapping[str, Outcome] = EMBEDDINGS, cached: bool = False
) -> Decision | QuorumError:
    embedded = {name: Embedded(outcome, cached) for name, outcome in outcomes.items()}
    return decide(query(zoo, policy), MATRICES, embedded)


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
    embedded = {"large": Embedded(EMBEDDINGS["large"])}
    decision = decide(query(fake_zoo, "single", ["large"]), MATRICES, embedded)
    assert isinstance(decision, Decision)
    assert np.allclose(decision.probabilities, softmax(expected_logits()[1]), atol=1e-6)
    assert [vote.backbone.name for vote in decision.votes] == ["large"]


def test_predictions_come_best_first_and_ties_keep_the_order(fake_zoo: Zoo) -> None:
    decision = decided(fake_zoo)
    assert isinstance(decision, Decision)
    flat = Decision(LABELS, "mean", np.full(3, 1 / 3, np.float32), decision.cosine, decision.votes, "last_stage")
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
    embedded = {name: Embedded(outcome) for name, outcome in EMBEDDINGS.items()}
    decision = decide(query(fake_zoo), MATRICES | {"small": FAILED}, embedded)
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
    assert decide(query(fake_zoo), MATRICES, broken) is broken
