from __future__ import annotations

import itertools

import numpy as np
import pytest

from service.pipeline.cascade.threshold_path import RAMP, cost_at, outcomes, prices, threshold_path, wanted_step
from service.pipeline.cascade.trace import AnswerTable, Trace, chain_masks, chain_trace
from tests.support.made_up_votes import committee

NEVER = np.inf


def some_trace(images: int, seed: int = 0, stages: tuple[tuple[int, ...], ...] = ((0,), (1,), (2,))) -> Trace:
    made = committee(images, seed=seed)
    return chain_trace(AnswerTable(made.combine, 3, np.arange(images)), made.gflops, chain_masks(stages), "margin")


def one_level(scores: list[float], wrong: list[bool]) -> Trace:
    """Leaving at once costs 1, staying 10."""
    n = len(scores)
    return Trace(
        np.array([scores, [0.0] * n]),
        np.array([wrong, [False] * n]),
        np.array([[1.0] * n, [10.0] * n]),
        np.zeros((2, n), dtype=np.int64),
    )


def objective(trace: Trace, thresholds: tuple[float, ...] | np.ndarray, price: float) -> float:
    errors, gflops = trace.outcome(thresholds)
    return gflops + price * errors / trace.images


def test_a_path_begins_with_nobody_leaving_and_never_rises() -> None:
    trace = some_trace(300)
    path = threshold_path(trace, prices(300, 7.0, 30))
    assert path.shape == (1 + RAMP + 30, 2)
    assert np.isinf(path[0]).all()
    assert (path[1:] <= path[:-1]).all()
    _, costs = outcomes(trace, path)
    assert costs[0] == 7.0
    assert (np.diff(costs) <= 0).all()


def test_the_ramp_makes_no_error_where_the_path_was_made() -> None:
    trace = some_trace(300)
    errors, costs = outcomes(trace, threshold_path(trace, prices(300, 7.0, 30)))
    assert not errors[: RAMP + 2].any()
    assert costs[RAMP + 1] < costs[RAMP] < costs[3] < costs[0]


def test_thresholds_are_nearly_those_of_trying_everything() -> None:
    excess = []
    for seed, price in itertools.product(range(8), (20.0, 60.0, 200.0)):
        trace = some_trace(60, seed)
        candidates = [[*np.unique(scores), NEVER] for scores in trace.scores[:-1]]
        best = min(objective(trace, pair, price) for pair in itertools.product(*candidates))
        path = threshold_path(trace, np.geomspace(1000.0, price, 30))
        excess.append(objective(trace, path[-1], price) / best - 1)
    assert min(excess) > -1e-9
    assert np.mean(excess) < 0.01
    assert max(excess) < 0.1


def test_one_level_is_solved_exactly() -> None:
    trace = one_level([0.9, 0.8, 0.7, 0.6], [False, True, False, False])
    rows = threshold_path(trace, np.array([1000.0, 40.0, 4.0]))[1 + RAMP :]
    # Each exit saves 9: a price of 40 is more than the three from the wrong answer on save together, 4 is less.
    assert [trace.levels(row).tolist() for row in rows] == [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]


def test_equal_scores_leave_together_or_not_at_all() -> None:
    trace = one_level([0.9, 0.8, 0.8, 0.8, 0.1], [False, False, True, False, False])
    for row in threshold_path(trace, np.geomspace(1000.0, 1.0, 20)):
        left = trace.levels(row) == 0
        assert len(set(left[1:4])) == 1


def test_when_all_scores_are_equal_all_leave_or_nobody() -> None:
    trace = one_level([1.0] * 6, [False] * 5 + [True])
    rows = threshold_path(trace, np.geomspace(1000.0, 1.0, 20))
    assert {tuple(trace.levels(row)) for row in rows} == {(1,) * 6, (0,) * 6}


def test_a_threshold_keeps_its_distance_from_scores() -> None:
    trace = one_level([0.9, 0.8, 0.4, 0.3], [False, False, True, True])
    assert threshold_path(trace, np.array([1000.0]))[-1].tolist() == [pytest.approx(0.6)]


def test_neighbouring_numbers_are_told_apart() -> None:
    above = float(np.nextafter(0.5, 1.0))
    trace = one_level([above, 0.5], [False, True])
    assert trace.levels(threshold_path(trace, np.array([1000.0]))[-1]).tolist() == [0, 1]


def test_a_path_ends_where_more_is_wrong_than_enough() -> None:
    trace = some_trace(300)
    short = threshold_path(trace, prices(300, 7.0, 60), enough=0.05)
    errors, _ = outcomes(trace, short)
    assert len(short) < 1 + RAMP + 60
    assert errors[-1] > 0.05 >= errors[:-1].max()


def test_a_committee_of_one_has_a_path_without_thresholds() -> None:
    made = committee(10, (2.0,))
    trace = chain_trace(AnswerTable(made.combine, 1, np.arange(10)), made.gflops, [1], "margin")
    path = threshold_path(trace, prices(10, 1.0, 5))
    assert path.shape[1] == 0
    assert outcomes(trace, path)[0].max() == 0.0


def test_the_cost_at_a_budget_lies_between_two_steps() -> None:
    errors, costs = np.array([0.0, 0.01, 0.03, 0.02]), np.array([10.0, 6.0, 2.0, 1.0])
    assert cost_at(errors, costs, 0.02) == pytest.approx(4.0)
    assert cost_at(errors, costs, 0.01) == pytest.approx(6.0)
    assert cost_at(errors, costs, 0.5) == 1.0
    assert cost_at(errors, costs, 0.0) == pytest.approx(10.0)
    assert [wanted_step(errors, budget) for budget in (0.0, 0.01, 0.02, 0.5)] == [0, 1, 1, 3]
