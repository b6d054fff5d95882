from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequestError
from service.pipeline.cascade.cascade import (
    NEVER,
    Cascade,
    Limits,
    Seen,
    Step,
    cheapest_first,
    exit_scores,
    next_step,
    probabilities,
    top_labels,
)
from service.pipeline.cascade.router import Router
from tests.support.made_up_votes import Floats

COSTS = (1.0, 2.0, 4.0, 8.0)


def logits_with(probability: float, classes: int = 3) -> Floats:
    """Logits whose first class has `probability`, the others the rest in equal parts."""
    rest = (1 - probability) / (classes - 1)
    return np.log(np.array([probability, *[rest] * (classes - 1)], dtype=np.float32))


def seen_by(*members: int, probability: float) -> Seen:
    return Seen(logits_with(probability), dict.fromkeys(members, 0))


def in_order(thresholds: tuple[float, ...] = (0.9, 0.8, 0.7)) -> Cascade:
    return Cascade(COSTS, "probability", ((0,), (1,), (2,), (3,)), thresholds, (1.0,) * 4)


def in_pairs() -> Cascade:
    return Cascade(COSTS, "probability", ((1, 0), (3, 2)), (0.9,), (1.0, 1.0))


def outcome(step: Step) -> tuple[tuple[int, ...], str | None]:
    return step.ask, step.reason


def test_the_first_stage_is_asked_before_anything_is_known() -> None:
    step = next_step(in_order(), (), None)
    assert outcome(step) == ((0,), None)
    assert math.isnan(step.exit_score)
    assert step.stages == 0


def test_a_score_at_its_threshold_leaves() -> None:
    seen = seen_by(0, probability=0.9)
    score = float(exit_scores(probabilities(seen.logits[None], 1.0), "probability")[0])
    assert outcome(next_step(in_order((score, 0.8, 0.7)), (0,), seen)) == ((), "confident")
    above = math.nextafter(score, 1.0)
    assert outcome(next_step(in_order((above, 0.8, 0.7)), (0,), seen)) == ((1,), None)


def test_each_stage_has_a_threshold_and_a_temperature_of_its_own() -> None:
    assert outcome(next_step(in_order(), (0,), seen_by(0, probability=0.85))) == ((1,), None)
    assert outcome(next_step(in_order(), (0, 1), seen_by(0, 1, probability=0.85))) == ((), "confident")
    hot = Cascade(COSTS, "probability", ((0,), (1,), (2,), (3,)), (0.9, 0.8, 0.7), (1.0, 9.0, 1.0, 1.0))
    step = next_step(hot, (0, 1), seen_by(0, 1, probability=0.85))
    assert (outcome(step), step.temperature, step.stages) == (((2,), None), 9.0, 2)


def test_the_margin_is_what_separates_the_two_best() -> None:
    margin = Cascade((1.0, 2.0), "margin", ((0,), (1,)), (0.5,), (1.0, 1.0))
    step = next_step(margin, (0,), seen_by(0, probability=0.7))
    assert step.exit_score == pytest.approx(0.55)
    assert step.confidence == pytest.approx(0.7)
    assert step.reason == "confident"


def test_whoever_comes_to_the_end_leaves() -> None:
    assert outcome(next_step(in_order(), (0, 1, 2, 3), seen_by(0, 1, 2, 3, probability=0.4))) == ((), "last_stage")


def test_a_score_that_is_not_a_number_never_leaves() -> None:
    broken = Seen(np.array([np.nan, 0.0, 1.0], dtype=np.float32), {0: 0})
    assert outcome(next_step(in_order((0.0, 0.0, 0.0)), (0,), broken)) == ((1,), None)


def test_never_is_reached_by_no_score() -> None:
    sure = Seen(np.array([1e4, 0.0, 0.0], dtype=np.float32), {0: 0})
    assert outcome(next_step(in_order((NEVER,) * 3), (0,), sure, Limits(min_confidence=0.0))) == ((1,), None)


def test_min_confidence_raises_thresholds_and_never_lowers_them() -> None:
    seen = seen_by(0, probability=0.92)
    assert outcome(next_step(in_order(), (0,), seen, Limits(min_confidence=0.95))) == ((1,), None)
    assert outcome(next_step(in_order(), (0,), seen, Limits(min_confidence=0.1))) == ((), "confident")
    unsure = seen_by(0, probability=0.85)
    assert outcome(next_step(in_order(), (0,), unsure, Limits(min_confidence=0.1))) == ((1,), None)


def test_a_stage_of_several_is_asked_together() -> None:
    assert next_step(in_pairs(), (), None).ask == (0, 1)
    assert next_step(in_pairs(), (0, 1), seen_by(0, 1, probability=0.5)).ask == (2, 3)


def test_a_budget_ends_the_way_where_nothing_more_is_payable() -> None:
    seen = seen_by(0, probability=0.5)
    assert outcome(next_step(in_order(), (0,), seen, Limits(max_gflops=3.0))) == ((1,), None)
    assert outcome(next_step(in_order(), (0,), seen, Limits(max_gflops=2.9))) == ((), "budget")


def test_a_budget_pays_for_part_of_a_stage() -> None:
    assert next_step(in_pairs(), (), None, Limits(max_gflops=1.5)).ask == (0,)
    part = next_step(in_pairs(), (0,), seen_by(0, probability=0.99), Limits(max_gflops=1.5))
    assert outcome(part) == ((), "budget")
    assert next_step(in_pairs(), (0, 1), seen_by(0, 1, probability=0.5), Limits(max_gflops=8.0)).ask == (2,)


def test_a_budget_that_pays_for_nobody_names_the_least_cost() -> None:
    with pytest.raises(InvalidRequestError, match="the cheapest backbone costs 1") as error:
        next_step(in_order(), (), None, Limits(max_gflops=0.5))
    assert error.value.param == "max_gflops"


def test_the_budget_counts_what_was_asked_even_if_it_failed() -> None:
    step = next_step(in_order(), (0, 1), seen_by(1, probability=0.5), Limits(max_gflops=6.0))
    assert outcome(step) == ((), "budget")


def test_a_subset_leaves_the_others_out() -> None:
    limits = Limits(members=frozenset({1, 3}))
    assert next_step(in_order(), (), None, limits).ask == (1,)
    assert next_step(in_order(), (1,), seen_by(1, probability=0.5), limits).ask == (3,)
    step = next_step(in_order(), (1, 3), seen_by(1, 3, probability=0.5), limits)
    assert (outcome(step), step.stages) == (((), "last_stage"), 2)


@pytest.mark.parametrize("members", [frozenset[int](), frozenset({4})])
def test_a_subset_of_nobody_or_of_strangers_is_refused(members: frozenset[int]) -> None:
    with pytest.raises(InvalidRequestError) as error:
        next_step(in_order(), (), None, Limits(members=members))
    assert error.value.param == "backbones"


def test_an_image_goes_on_when_a_backbone_failed() -> None:
    assert outcome(next_step(in_order(), (0,), None)) == ((1,), None)
    assert outcome(next_step(in_order(), (0, 1), seen_by(1, probability=0.85))) == ((), "confident")
    assert outcome(next_step(in_order(), (0, 1, 2, 3), None)) == ((), "last_stage")


def test_limits_know_whether_there_are_any() -> None:
    assert Limits().none
    assert not Limits(max_gflops=100.0).none
    assert not Limits(min_confidence=0.0).none
    assert not Limits(members=frozenset({0, 1, 2, 3})).none


def test_without_calibration_the_cheapest_comes_first_and_min_confidence_decides() -> None:
    cascade = cheapest_first((4.0, 1.0, 2.0))
    assert cascade.stages == ((1,), (2,), (0,))
    seen = seen_by(1, probability=0.6)
    assert outcome(next_step(cascade, (1,), seen, Limits(min_confidence=0.7))) == ((2,), None)
    assert outcome(next_step(cascade, (1,), seen, Limits(min_confidence=0.5))) == ((), "confident")


def test_one_backbone_is_a_cascade_too() -> None:
    alone = cheapest_first((1.0,))
    assert outcome(next_step(alone, (0,), seen_by(0, probability=0.5))) == ((), "last_stage")
    assert not alone.leaves_early


@pytest.mark.parametrize(
    "stages", [((0,), (0, 1)), ((0,),), ((0,), (2,)), ((0, 1), ())], ids=["twice", "missing", "unknown", "empty"]
)
def test_stages_that_do_not_hold_each_backbone_once_are_refused(stages: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="do not hold each of 2"):
        Cascade((1.0, 2.0), "probability", stages, (0.5,) * (len(stages) - 1), (1.0,) * len(stages))


@pytest.mark.parametrize(
    ("thresholds", "temperatures"),
    [
        ((0.5, 0.5), (1.0, 1.0)),
        ((0.5,), (1.0,)),
        ((math.nan,), (1.0, 1.0)),
        ((0.5,), (0.0, 1.0)),
        ((0.5,), (NEVER, 1.0)),
    ],
)
def test_numbers_that_make_no_cascade_are_refused(
    thresholds: tuple[float, ...], temperatures: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Cascade((1.0, 2.0), "probability", ((0,), (1,)), thresholds, temperatures)


def router_to(preferred: int) -> Cascade:
    """Begins with backbone 0; afterwards `preferred` seems cheapest to everyone."""
    weights = np.ones((16, 4, 8), dtype=np.float32)
    weights[:, preferred] = -1.0
    stages = ((0,), (1,), (2,), (3,))
    router = Router(0, weights, np.full(16, 2.0))
    return Cascade(COSTS, "probability", stages, (0.9, 0.8, 0.7), (1.0,) * 4, router)


def test_a_router_says_whom_to_ask_next() -> None:
    assert next_step(router_to(3), (), None).ask == (0,)
    assert next_step(router_to(3), (0,), seen_by(0, probability=0.5)).ask == (3,)
    assert next_step(router_to(2), (0,), seen_by(0, probability=0.5)).ask == (2,)
    assert next_step(router_to(3), (0, 3), seen_by(0, 3, probability=0.5)).ask == (1,)  # a tie goes to the cheaper


def test_a_router_knows_the_temperature_and_the_number_asked_the_threshold() -> None:
    step = next_step(router_to(3), (0, 3), seen_by(0, 3, probability=0.97))
    assert (step.temperature, step.stages) == (2.0, 2)
    expected = 0.97**0.5 / (0.97**0.5 + 2 * 0.015**0.5)
    assert step.exit_score == pytest.approx(expected, rel=1e-5)
    assert (step.reason == "confident") == (expected >= 0.8)


def test_a_router_keeps_to_subset_budget_and_failures() -> None:
    unsure = seen_by(0, probability=0.4)
    assert next_step(router_to(3), (0,), unsure, Limits(max_gflops=5.0)).ask == (1,)
    assert outcome(next_step(router_to(3), (0,), unsure, Limits(max_gflops=2.0))) == ((), "budget")
    assert next_step(router_to(3), (), None, Limits(members=frozenset({2, 3}))).ask == (2,)
    assert next_step(router_to(3), (0,), None).ask == (1,)
    assert next_step(router_to(3), (0, 3), unsure).ask == (1,)


def test_a_router_for_another_number_of_backbones_is_refused() -> None:
    router = Router(0, np.zeros((4, 2, 6), dtype=np.float32), np.ones(4))
    with pytest.raises(ValueError, match="another number"):
        Cascade((1.0,), "probability", ((0,),), (), (1.0,), router)


def test_a_single_class_is_certain_by_either_score() -> None:
    chances = probabilities(np.zeros((2, 1), dtype=np.float32), 1.0)
    assert exit_scores(chances, "probability").tolist() == [1.0, 1.0]
    assert exit_scores(chances, "margin").tolist() == [1.0, 1.0]


def test_the_first_of_equal_labels_is_the_answer() -> None:
    assert top_labels(np.array([[1.0, 3.0, 3.0]], dtype=np.float32)).tolist() == [1]


def test_log_probabilities_may_be_minus_infinity() -> None:
    chances = probabilities(np.array([[0.0, -np.inf, 0.0]], dtype=np.float32), 0.5)
    assert chances.tolist() == [[0.5, 0.0, 0.5]]


@given(st.integers(1, 40), st.integers(1, 30), st.floats(0.05, 20.0))
def test_a_score_does_not_depend_on_the_other_images(images: int, classes: int, temperature: float) -> None:
    logits = np.random.default_rng(images).normal(0, 8, (images, classes)).astype(np.float32)
    together = exit_scores(probabilities(logits, temperature), "margin")
    alone = [exit_scores(probabilities(row[None], temperature), "margin")[0] for row in logits]
    assert together.tolist() == alone
