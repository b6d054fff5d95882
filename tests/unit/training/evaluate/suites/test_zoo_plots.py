"""What the plots rest on."""

from __future__ import annotations

import pytest

from training.evaluate.suites.zoo_plots import pareto

pytestmark = pytest.mark.torch


def test_the_front_holds_what_no_cheaper_point_reaches() -> None:
    assert pareto([(3.0, 10.0), (1.0, 5.0), (2.0, 4.0), (4.0, 10.0), (5.0, 11.0)]) == [
        (1.0, 5.0),
        (3.0, 10.0),
        (5.0, 11.0),
    ]


def test_of_two_points_of_one_cost_the_better_stays() -> None:
    assert pareto([(1.0, 2.0), (1.0, 3.0)]) == [(1.0, 3.0)]
