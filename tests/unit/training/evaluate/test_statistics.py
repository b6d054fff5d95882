"""Scores and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.statistics import balanced_accuracy, bootstrap, hits_at_k

pytestmark = pytest.mark.torch


def test_balanced_accuracy_counts_every_class_alike() -> None:
    truth = np.array([0] * 8 + [1] * 2)
    correct = np.array([True] * 8 + [False] * 2)
    assert balanced_accuracy(correct, truth) == 0.5


def test_classes_without_images_do_not_count() -> None:
    assert balanced_accuracy(np.array([True, True]), np.array([0, 5])) == 1.0


def test_the_interval_covers_the_value_and_narrows_with_more_items() -> None:
    rng = np.random.default_rng(0)
    few, many = (bootstrap(rng.random(n) < 0.5) for n in (50, 5000))
    for score in (few, many):
        assert score.low <= score.value <= score.high
    assert many.high - many.low < few.high - few.low


def test_the_interval_has_the_width_that_theory_gives() -> None:
    score = bootstrap(np.arange(1000) % 2 == 0)
    assert score.high - score.low == pytest.approx(2 * 1.96 * (0.25 / 1000) ** 0.5, rel=0.15)


def test_a_hit_is_among_the_k_best() -> None:
    scores = np.array([[3, 2, 1], [1, 2, 3]], dtype=np.float32)
    owner = np.array([1, 0])
    assert hits_at_k(scores, owner, 2).tolist() == [True, False]


def test_ties_count_against_the_query() -> None:
    assert not hits_at_k(np.zeros((1, 5), dtype=np.float32), np.array([0]), 3).any()
