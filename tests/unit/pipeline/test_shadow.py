"""What a cascade's shadow checks add up to, and when they raise an alarm."""

from __future__ import annotations

import bisect
import math

import numpy as np
import pytest

from service.pipeline.cascade.learn_then_test import lower_bound
from service.pipeline.shadow import FIRST_LOOK, GROWTH, LEVEL, Tally


def counted(epsilon: float, disagreements: int, agreements: int) -> Tally:
    tally = Tally(epsilon)
    for number in range(disagreements + agreements):
        tally.count(agrees=number >= disagreements)
    return tally


def test_at_first_nothing_is_known() -> None:
    tally = Tally(0.02)
    assert (tally.checked, tally.disagreements, tally.observed, tally.lower_bound) == (0, 0, 0.0, 0.0)
    assert (tally.excess, tally.alert) == (-0.02, False)


def test_counts_are_counts() -> None:
    tally = counted(0.1, 3, 9)
    assert (tally.checked, tally.disagreements, tally.observed) == (12, 3, 0.25)


def test_the_bound_is_clopper_pearsons_at_the_looks_own_level() -> None:
    tally = counted(0.1, 5, FIRST_LOOK - 5)
    assert tally.lower_bound == pytest.approx(lower_bound(5, FIRST_LOOK, LEVEL / 2))
    assert 0 < tally.lower_bound < 0.5


def test_between_two_looks_the_bound_stays() -> None:
    tally = counted(0.1, 5, FIRST_LOOK - 5)
    before = tally.lower_bound
    tally.count(agrees=False)
    assert tally.lower_bound == before
    tally.count(agrees=False)  # the twelfth is the next look
    assert tally.lower_bound == pytest.approx(lower_bound(7, 12, LEVEL / 6))


def test_a_cascade_that_is_always_wrong_is_found_out_at_the_first_look() -> None:
    tally = Tally(0.02)
    began = [tally.count(agrees=False) for _ in range(FIRST_LOOK)]
    assert began == [False] * (FIRST_LOOK - 1) + [True]
    assert tally.alert


def test_an_alert_begins_once_and_ends_when_things_mend() -> None:
    tally = counted(0.05, FIRST_LOOK, 0)
    alerts, began = [tally.alert], []
    for agrees in (True, False):
        began += [tally.count(agrees=agrees) for _ in range(2_000)]
        alerts.append(tally.alert)
    assert alerts == [True, False, True]
    assert not any(began), "told once"


def test_a_cascade_that_always_agrees_never_alarms() -> None:
    assert counted(0.001, 0, 5_000).lower_bound == 0.0


def looks(checks: int, *, shared: bool = True) -> list[tuple[int, float]]:
    """When the bound is worked out, and at which level."""
    found: list[tuple[int, float]] = []
    n = FIRST_LOOK
    while n <= checks:
        k = len(found) + 1
        found.append((n, LEVEL / (k * (k + 1)) if shared else LEVEL))
        n = math.ceil(n * GROWTH)
    return found


def test_the_bound_is_worked_out_at_those_looks_and_at_no_others() -> None:
    tally, known = Tally(0.05), dict(looks(200))
    for n in range(1, 201):
        before = tally.lower_bound
        tally.count(agrees=n % 3 > 0)
        expected = lower_bound(tally.disagreements, n, known[n]) if n in known else before
        assert tally.lower_bound == pytest.approx(expected)


def accused(rate: float, epsilon: float, schedule: list[tuple[int, float]], runs: int = 20_000) -> float:
    """Share of cascades with a true disagreement `rate` that are ever accused of more than `epsilon`."""
    rng = np.random.default_rng(7)
    counts, guilty, before = np.zeros(runs, dtype=np.int64), np.zeros(runs, dtype=np.bool_), 0
    for n, level in schedule:
        counts += rng.binomial(n - before, rate, runs)
        before = n
        guilty |= counts >= _least(n, level, epsilon)
    return float(guilty.mean())


def _least(n: int, level: float, epsilon: float) -> int:
    """The fewest disagreements of `n` that are an alert, by bisection."""
    return bisect.bisect_left(range(n + 1), True, key=lambda d: lower_bound(d, n, level) > epsilon)


def test_who_keeps_a_promise_to_the_letter_is_hardly_ever_accused_however_long_one_looks() -> None:
    assert 0 < accused(rate=0.05, epsilon=0.05, schedule=looks(100_000)) <= LEVEL


def test_looking_again_and_again_at_one_level_would_accuse_more_than_it_says() -> None:
    """Why the level is shared."""
    assert accused(rate=0.05, epsilon=0.05, schedule=looks(100_000, shared=False)) > 3 * LEVEL


def test_who_breaks_a_promise_is_accused() -> None:
    assert accused(rate=0.10, epsilon=0.05, schedule=looks(1_500)) >= 0.99
    assert accused(rate=0.04, epsilon=0.02, schedule=looks(3_000)) >= 0.9
