"""Scores and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.statistics import (
    any_hits_at_k,
    best_k,
    class_weights,
    hits_at_k,
    item_weights,
    resamples,
)

pytestmark = pytest.mark.torch


def test_without_classes_every_item_weighs_the_same() -> None:
    assert resamples(4).point.tolist() == [0.25] * 4


def test_balanced_accuracy_counts_every_class_alike() -> None:
    truth = np.array([0] * 8 + [1] * 2)
    correct = np.array([True] * 8 + [False] * 2)
    assert resamples(10, truth).value(correct) == pytest.approx(0.5)


def test_classes_without_items_do_not_count() -> None:
    assert class_weights(np.array([0, 7, 7])).tolist() == [0.5, 0.25, 0.25]


def test_items_keep_their_weight_however_often_they_are_drawn() -> None:
    weights = item_weights(np.array([2, 1, 0]), np.array([0.5, 0.25, 0.25]))
    assert weights.tolist() == [0.8, 0.2, 0.0]


def test_naming_one_class_always_gains_nothing_from_classes_that_are_not_drawn() -> None:
    truth = np.array([0] * 30 + list(range(1, 20)))
    drawn = resamples(49, truth).drawn(truth == 0)
    assert drawn.mean() == pytest.approx(1 / 20, rel=0.1)


@pytest.mark.parametrize("n", [5, 239])
def test_where_nobody_is_right_the_interval_is_the_exact_one(n: int) -> None:
    none, every = (resamples(n).score(np.full(n, right)) for right in (False, True))
    assert (none.value, none.low) == (0, 0)
    assert (1 - none.high) ** n == pytest.approx(0.025)
    assert (every.value, every.high) == (1, 1)
    assert every.low == pytest.approx(1 - none.high)


def test_every_resample_is_a_weighted_mean() -> None:
    truth = np.array([5, 2, 2, 9, 9, 9])
    for weights in (resamples(6, draws=50), resamples(6, truth, draws=50)):
        assert weights.draws.min() >= 0
        assert weights.draws.sum(axis=1) == pytest.approx(1)
        assert weights.point.sum() == pytest.approx(1)


def test_the_interval_covers_the_value_and_narrows_with_more_items() -> None:
    rng = np.random.default_rng(0)
    few, many = (resamples(n).score(rng.random(n) < 0.5) for n in (50, 5000))
    for score in (few, many):
        assert score.low <= score.value <= score.high
    assert many.high - many.low < few.high - few.low


def test_the_interval_has_the_width_that_theory_gives() -> None:
    score = resamples(1000).score(np.arange(1000) % 2 == 0)
    assert score.high - score.low == pytest.approx(2 * 1.96 * (0.25 / 1000) ** 0.5, rel=0.15)


def test_a_name_has_its_own_resamples_and_always_the_same() -> None:
    first, again, other = (resamples(20, name=name, draws=5).draws for name in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_captions_of_a_picture_are_drawn_together() -> None:
    weights = resamples(3, draws=20)
    spread = weights.spread(np.array([0, 0, 1, 2, 2, 2]))
    assert spread.draws[:, 0] == pytest.approx(spread.draws[:, 1])
    assert spread.draws[:, :2].sum(axis=1) == pytest.approx(weights.draws[:, 0])
    assert spread.value(np.array([1, 0, 1, 1, 1, 1])) == pytest.approx((0.5 + 1 + 1) / 3)


def test_a_hit_is_among_the_k_best() -> None:
    scores = np.array([[3, 2, 1], [1, 2, 3]], dtype=np.float32)
    owner = np.array([1, 0])
    assert hits_at_k(scores, owner, 2).tolist() == [True, False]


def test_ties_count_against_the_query() -> None:
    flat = np.zeros((1, 5), dtype=np.float32)
    assert not hits_at_k(flat, np.array([0]), 3).any()
    assert not best_k(flat, 3).any()
    assert not any_hits_at_k(np.zeros((2, 4), dtype=np.float32), np.array([0, 0, 1, 1]), 2).any()


def test_any_of_a_querys_own_items_may_be_found() -> None:
    scores = np.array([[0, 4, 3, 2], [9, 1, 2, 8]], dtype=np.float32)
    owner = np.array([0, 0, 1, 1])
    assert any_hits_at_k(scores, owner, 1).tolist() == [True, False]
    assert any_hits_at_k(scores, owner, 2).tolist() == [True, True]


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_the_k_best_hold_exactly_the_hits(k: int) -> None:
    scores = np.random.default_rng(k).integers(0, 6, (40, 7)).astype(np.float32)
    owner = np.random.default_rng(1).integers(0, 7, 40)
    assert np.array_equal(best_k(scores, k)[np.arange(40), owner], hits_at_k(scores, owner, k))
