from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequestError
from service.pipeline.cascade.learn_then_test import (
    Certificate,
    allowed_errors,
    binomial_cdf,
    certified_gap,
    last_passing,
    lower_bound,
    smallest_sample,
    upper_bound,
)

SETS = 200
MOST_BROKEN = 27
"""Of 200 sets at delta 0.1: a promise that is kept breaks more often in 4 % of such experiments at the worst."""


def brute_force(errors: int, trials: int, chance: Fraction) -> Fraction:
    terms = (math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(errors + 1))
    return sum(terms, Fraction(0))


@given(st.integers(1, 60), st.integers(-1, 61), st.integers(0, 20))
def test_the_binomial_tail_is_that_of_whole_numbers(trials: int, errors: int, twentieths: int) -> None:
    chance = Fraction(twentieths, 20)
    exact = float(brute_force(min(errors, trials), trials, chance))
    assert binomial_cdf(errors, trials, float(chance)) == pytest.approx(exact, rel=1e-10, abs=1e-300)


@pytest.mark.parametrize(("errors", "trials", "chance"), [(40, 5_000, 0.01), (50, 1_500, 0.05)])
def test_the_tail_is_exact_for_large_samples(errors: int, trials: int, chance: float) -> None:
    exact = brute_force(errors, trials, Fraction(chance).limit_denominator(100))
    assert binomial_cdf(errors, trials, chance) == pytest.approx(float(exact), rel=1e-8)


def test_a_tail_too_small_for_floating_point_is_zero() -> None:
    assert binomial_cdf(0, 1_000_000, 0.5) == 0.0


@pytest.mark.parametrize(
    ("epsilon", "trials", "allowed"),
    [
        (0.01, 500, 1),
        (0.01, 1_000, 5),
        (0.01, 2_000, 13),
        (0.01, 5_000, 40),
        (0.01, 10_000, 86),
        (0.005, 1_000, 1),
        (0.005, 5_000, 18),
        (0.02, 500, 5),
        (0.02, 2_000, 31),
        (0.005, 250, -1),
    ],
)
def test_allowed_errors_are_those_of_the_table(epsilon: float, trials: int, allowed: int) -> None:
    assert allowed_errors(trials, epsilon, delta=0.1) == allowed


@given(st.integers(1, 80), st.integers(1, 19), st.integers(1, 19))
def test_one_more_error_than_allowed_is_never_rejected(trials: int, epsilon: int, delta: int) -> None:
    e, d = Fraction(epsilon, 20), Fraction(delta, 20)
    allowed = allowed_errors(trials, float(e), float(d))
    assert allowed < trials
    assert allowed < 0 or brute_force(allowed, trials, e) <= d
    assert brute_force(allowed + 1, trials, e) > d


@given(st.integers(1, 99), st.integers(1, 99))
def test_the_smallest_sample_passes_and_one_fewer_does_not(epsilon: int, delta: int) -> None:
    e, d = Fraction(epsilon, 100), Fraction(delta, 100)
    n = smallest_sample(float(e), float(d))
    assert (1 - e) ** n <= d
    assert n == 1 or (1 - e) ** (n - 1) > d
    assert allowed_errors(n, float(e), float(d)) >= 0
    assert n == 1 or allowed_errors(n - 1, float(e), float(d)) == -1


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_level_outside_its_range_is_refused_by_name(level: float) -> None:
    with pytest.raises(InvalidRequestError) as epsilon:
        smallest_sample(level, 0.1)
    with pytest.raises(InvalidRequestError) as delta:
        allowed_errors(100, 0.1, level)
    assert (epsilon.value.param, delta.value.param) == ("epsilon", "delta")


def test_the_step_before_the_first_failure_is_used_even_if_a_later_one_would_pass() -> None:
    found = last_passing([0, 1, 9, 1], trials=200, epsilon=0.05, delta=0.1)
    assert found == Certificate(1, 1, binomial_cdf(1, 200, 0.05), 5)


def test_a_path_that_never_fails_is_used_to_its_end() -> None:
    assert last_passing([0, 0, 5], trials=200, epsilon=0.05, delta=0.1).step == 2


def test_a_path_whose_first_step_fails_has_no_step() -> None:
    assert last_passing([6, 0], trials=200, epsilon=0.05, delta=0.1).step is None
    assert last_passing([0, 0], trials=10, epsilon=0.05, delta=0.1) == Certificate(
        None, 0, binomial_cdf(0, 10, 0.05), -1
    )


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        last_passing([], trials=200, epsilon=0.05, delta=0.1)


def broken_promises(one_too_far: bool) -> int:
    """How many of 200 samples choose a setting whose known risk is beyond 5 %, on a path that steps over it."""
    risks = np.array([0.01, 0.02, 0.03, 0.07, 0.12])
    rng, broken = np.random.default_rng(0), 0
    for _ in range(SETS):
        errors = (rng.random(500)[:, None] < risks).sum(axis=0)
        step = last_passing(errors.tolist(), 500, epsilon=0.05, delta=0.1).step
        used = -1 if step is None else step
        used = min(used + 1, len(risks) - 1) if one_too_far else used
        broken += used >= 0 and bool(risks[used] > 0.05)
    return broken


def test_the_promise_is_kept_where_the_risk_is_known() -> None:
    assert broken_promises(one_too_far=False) <= MOST_BROKEN


def test_using_the_step_that_failed_breaks_the_promise() -> None:
    assert broken_promises(one_too_far=True) > MOST_BROKEN


@given(st.integers(1, 200), st.data(), st.sampled_from([0.01, 0.05, 0.5]))
def test_bounds_invert_the_tail(trials: int, data: st.DataObject, alpha: float) -> None:
    errors = data.draw(st.integers(0, trials))
    high, low = upper_bound(errors, trials, alpha), lower_bound(errors, trials, alpha)
    assert low <= errors / trials <= high or alpha == 0.5
    if errors < trials:
        assert binomial_cdf(errors, trials, high) == pytest.approx(alpha, rel=1e-6)
    if errors > 0:
        assert 1 - binomial_cdf(errors - 1, trials, low) == pytest.approx(alpha, rel=1e-6)


def test_bounds_at_the_ends_stay_shares() -> None:
    assert lower_bound(0, 10, 0.05) == 0.0
    assert upper_bound(10, 10, 0.05) == 1.0
    assert upper_bound(0, 10, 0.05) == pytest.approx(1 - 0.05**0.1)


def test_the_gap_bound_is_the_smallest_level_that_passes() -> None:
    assert certified_gap([0, 0], [0, 0], 2_000, 1, epsilon=0.02, delta=0.1) == pytest.approx(0.005)
    assert certified_gap([0, 20], [0, 20], 2_000, 1, epsilon=0.02, delta=0.1) == pytest.approx(0.015)
    assert certified_gap([0, 45], [0, 0], 2_000, 1, epsilon=0.02, delta=0.1) is None


def test_the_gap_of_a_later_step_is_bounded_by_its_way_there() -> None:
    assert certified_gap([0, 45, 0], [0, 0, 0], 2_000, 2, epsilon=0.02, delta=0.1) is None
    assert certified_gap([0, 45, 0], [0, 0, 0], 2_000, 0, epsilon=0.02, delta=0.1) is not None


def broken_gap_bounds(bounded: Callable[[list[int], list[int], int], float | None]) -> int:
    """How many of 200 samples get a bound that the known gap exceeds; two gaps lie just above a level of the test."""
    rng, broken = np.random.default_rng(1), 0
    gaps = np.array([0.004, 0.0105, 0.013, 0.016, 0.0205])
    for _ in range(SETS):
        draws = rng.random(1_000)[:, None]
        worse = (draws < gaps + 0.01).sum(axis=0).tolist()
        better = np.repeat((draws > 0.99).sum(), len(gaps)).tolist()
        bounds = {step: bounded(worse, better, step) for step in (1, 4)}
        broken += any(bound is not None and gaps[step] > bound for step, bound in bounds.items())
    return broken


def test_the_gap_bound_is_kept_where_the_gap_is_known() -> None:
    assert (
        broken_gap_bounds(lambda worse, better, step: certified_gap(worse, better, 1_000, step, 0.04, 0.1))
        <= MOST_BROKEN
    )


def test_the_observed_gap_is_no_bound() -> None:
    assert broken_gap_bounds(lambda worse, better, step: (worse[step] - better[step]) / 1_000) > MOST_BROKEN
