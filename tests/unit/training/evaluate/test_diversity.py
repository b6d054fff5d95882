"""Oracles, controls and pairs, on small made-up committees."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate import diversity
from training.evaluate.statistics import Booleans, Integers

pytestmark = pytest.mark.torch

CLASSES, ITEMS = 4, 600


def _answers(skills: tuple[float, ...], seed: int = 0) -> tuple[Integers, Integers]:
    """int64[b, n] and the truth, int64[n], of members that know it with the given chances and otherwise guess."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, ITEMS)
    guesses = rng.integers(0, CLASSES, (len(skills), ITEMS))
    knows = rng.random((len(skills), ITEMS)) < np.array(skills)[:, None]
    return np.where(knows, truth, guesses), truth


def _shuffled(predicted: Integers, truth: Integers, member: int, rng: np.random.Generator) -> Booleans:
    """Who is right when one member's answers are dealt anew."""
    dealt = predicted.copy()
    dealt[member] = rng.permutation(dealt[member])
    return np.asarray(dealt == truth)


def test_the_oracle_is_as_good_as_every_member() -> None:
    predicted, truth = _answers((0.5, 0.3, 0.1))
    correct = predicted == truth
    assert all((diversity.oracle(correct) >= row).all() for row in correct)


def test_those_who_are_alone_right_are_never_two() -> None:
    predicted, truth = _answers((0.5, 0.3, 0.1))
    alone = diversity.alone(predicted == truth)
    assert alone.sum(axis=0).max() == 1
    assert (alone <= (predicted == truth)).all()


def test_the_shuffled_control_is_the_mean_of_many_shuffles() -> None:
    predicted, truth = _answers((0.5, 0.4, 0.3))
    correct, rng = predicted == truth, np.random.default_rng(1)
    expected = diversity.alone_by_luck(correct, diversity.luck(predicted, truth))
    for member in range(3):
        drawn = [diversity.alone(_shuffled(predicted, truth, member, rng))[member].mean() for _ in range(400)]
        assert expected[member].mean() == pytest.approx(np.mean(drawn), abs=0.002)


def test_the_oracle_with_others_shuffled_is_the_mean_of_many_shuffles() -> None:
    predicted, truth = _answers((0.5, 0.4, 0.3))
    correct, rng = predicted == truth, np.random.default_rng(2)
    likely = diversity.all_but(0, correct, diversity.luck(predicted, truth))
    oracles, ones = [], []
    for _ in range(400):
        dealt = np.stack([predicted[0], rng.permutation(predicted[1]), rng.permutation(predicted[2])])
        oracles.append((dealt == truth).any(axis=0).mean())
        ones.append(((dealt == truth).sum(axis=0) == 1).mean())
    assert diversity.oracle_if_independent(likely).mean() == pytest.approx(np.mean(oracles), abs=0.002)
    assert diversity.alone_if_independent(likely).sum(axis=0).mean() == pytest.approx(np.mean(ones), abs=0.002)


def test_a_member_that_knows_nothing_adds_what_its_control_says() -> None:
    predicted, truth = _answers((0.6, 0.0), seed=3)
    correct = predicted == truth
    control = diversity.alone_by_luck(correct, diversity.luck(predicted, truth))[1].mean()
    assert diversity.alone(correct)[1].mean() == pytest.approx(control, abs=0.04)


def test_members_that_know_different_things_are_far_above_their_control() -> None:
    truth = np.repeat(np.arange(CLASSES), 50)
    # Each knows two classes and says the first of them whenever it sees another.
    first, second = np.where(truth < 2, truth, 0), np.where(truth >= 2, truth, 2)
    predicted = np.stack([first, second])
    correct = predicted == truth
    assert diversity.oracle(correct).all()
    control = diversity.alone_by_luck(correct, diversity.luck(predicted, truth))
    assert (diversity.alone(correct).mean(axis=1) > 1.5 * control.mean(axis=1)).all()


def test_a_copy_of_a_member_is_never_alone_right() -> None:
    predicted, truth = _answers((0.5,))
    twice = np.concatenate([predicted, predicted])
    assert not diversity.alone(twice == truth).any()
    assert diversity.alone_by_luck(twice == truth, diversity.luck(twice, truth)).mean() > 0.05


def test_independent_errors_are_the_mean_of_many_deals_within_classes() -> None:
    predicted, truth = _answers((0.5, 0.4, 0.3))
    correct, rng = predicted == truth, np.random.default_rng(4)
    likely = diversity.independent(correct, diversity.deal_groups(truth))
    oracles, alones = [], []
    for _ in range(400):
        dealt = correct.copy()
        for member, group in np.ndindex(3, CLASSES):
            inside = np.flatnonzero(truth == group)
            dealt[member, inside] = rng.permutation(correct[member, inside])
        oracles.append(dealt.any(axis=0).mean())
        alones.append(diversity.alone(dealt).mean(axis=1))
    assert diversity.oracle_if_independent(likely).mean() == pytest.approx(np.mean(oracles), abs=0.002)
    assert diversity.alone_if_independent(likely).mean(axis=1) == pytest.approx(np.mean(alones, axis=0), abs=0.002)


def test_members_whose_errors_are_independent_equal_the_independent_control() -> None:
    predicted, truth = _answers((0.5, 0.4, 0.3), seed=5)
    correct = predicted == truth
    likely = diversity.independent(correct, diversity.deal_groups(truth))
    assert diversity.oracle(correct).mean() == pytest.approx(diversity.oracle_if_independent(likely).mean(), abs=0.03)


def test_independent_errors_keep_every_members_accuracy() -> None:
    predicted, truth = _answers((0.5, 0.3))
    correct = predicted == truth
    likely = diversity.independent(correct, diversity.deal_groups(truth))
    assert likely.mean(axis=1) == pytest.approx(correct.mean(axis=1))


def test_small_classes_are_dealt_among_each_other() -> None:
    truth = np.array([0] * 5 + [1, 2, 3])
    groups = diversity.deal_groups(truth)
    assert len(set(groups[:5])) == 1
    assert set(groups[5:]) == {0}
    assert groups[0] != 0


def test_retrieval_luck_is_how_often_an_item_is_listed_for_anybody() -> None:
    listed = np.array([[True, False], [True, False]])
    assert diversity.retrieval_luck(listed).tolist() == [1.0, 0.0]


def test_pairs_are_compared_both_ways_and_not_with_themselves() -> None:
    predicted, truth = _answers((0.5, 0.3, 0.1))
    weights = np.full(ITEMS, 1 / ITEMS)
    for matrix in (
        diversity.one_right(predicted == truth, weights),
        diversity.answers_differ(predicted, weights),
    ):
        assert np.allclose(matrix, matrix.T)
        assert not matrix.diagonal().any()
    correct = predicted == truth
    assert diversity.one_right(correct, weights)[0, 1] == pytest.approx((correct[0] != correct[1]).mean())


def test_the_order_of_members_does_not_matter() -> None:
    predicted, truth = _answers((0.5, 0.3, 0.1))
    order = [2, 0, 1]
    correct, turned = predicted == truth, (predicted == truth)[order]
    lucky = diversity.luck(predicted, truth)
    assert np.array_equal(diversity.alone(turned), diversity.alone(correct)[order])
    assert np.allclose(diversity.alone_by_luck(turned, lucky[order]), diversity.alone_by_luck(correct, lucky)[order])
    likely = diversity.all_but(0, correct, lucky)
    assert np.allclose(diversity.all_but(1, turned, lucky[order]), likely[order])
    assert np.allclose(diversity.oracle_if_independent(likely[order]), diversity.oracle_if_independent(likely))
    assert np.allclose(diversity.alone_if_independent(likely[order]), diversity.alone_if_independent(likely)[order])
