"""Means with standard errors."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.committee.estimates import Estimate, estimate, mean_of, shown, shown_difference


def test_a_mean_over_images_has_the_binomial_error() -> None:
    right = np.arange(400) % 4 == 0
    found = estimate(right[None], np.full(400, 1 / 400))
    assert found.value == pytest.approx(0.25)
    assert found.error == pytest.approx((0.25 * 0.75 / 400) ** 0.5)


def test_weights_make_it_a_balanced_mean() -> None:
    right = np.array([[True, True, True, False]])
    assert estimate(right, np.array([1 / 6, 1 / 6, 1 / 6, 1 / 2])).value == pytest.approx(0.5)


def test_seeds_that_differ_widen_the_interval() -> None:
    weights = np.full(100, 0.01)
    alike = np.stack([np.arange(100) < 50] * 2)
    apart = np.stack([np.arange(100) < 40, np.arange(100) < 60])
    assert estimate(apart, weights).value == pytest.approx(estimate(alike, weights).value)
    assert estimate(apart, weights).error > estimate(alike, weights).error


def test_the_interval_holds_the_truth_in_nineteen_of_twenty_samples() -> None:
    rng = np.random.default_rng(0)
    found = [estimate(rng.random((1, 300)) < 0.3, np.full(300, 1 / 300)) for _ in range(500)]
    assert 0.92 <= np.mean([each.low <= 0.3 <= each.high for each in found]) <= 0.98


def test_tasks_count_alike_and_their_errors_shrink_together() -> None:
    found = mean_of([Estimate(0.2, 0.03), Estimate(0.4, 0.04)])
    assert found.value == pytest.approx(0.3)
    assert found.error == pytest.approx(0.025)


def test_no_tasks_have_no_mean() -> None:
    with pytest.raises(ValueError, match="at least one task"):
        mean_of([])


def test_a_difference_is_bold_only_where_it_is_one() -> None:
    assert shown(Estimate(0.5, 0.01)) == "50.0 [48.0, 52.0]"
    assert shown_difference(Estimate(0.01, 0.1)).startswith("+1.0")
    assert shown_difference(Estimate(-0.05, 0.001)).startswith("**-5.0")
