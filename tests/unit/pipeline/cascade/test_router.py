from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.pipeline.cascade.router import PLAIN_FEATURES, Router, mask_of, members_of, route_features, top_two


@given(st.sets(st.integers(0, 8)))
def test_a_mask_is_its_members(members: set[int]) -> None:
    assert members_of(mask_of(members)) == tuple(sorted(members))


def test_features_say_how_sure_the_answer_is_and_who_agrees() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    tops = np.array([[0, -1, 1], [2, -1, 2]])
    features = route_features(chances, tops)
    assert features.shape == (2, PLAIN_FEATURES + 3)
    assert features[0, :3].tolist() == [1.0, 0.7, 0.2]
    assert features[1, 3] == pytest.approx(1.5 * np.log(2) / np.log(3))
    assert features[:, 4:].tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]]


def test_features_of_certain_answers_and_of_one_class_are_finite() -> None:
    assert np.isfinite(route_features(np.array([[1.0, 0.0]]), np.array([[0]]))).all()
    assert route_features(np.array([[1.0]]), np.array([[0]])).tolist() == [[1.0, 1.0, 0.0, 0.0, 1.0]]


def test_the_two_largest_come_in_order() -> None:
    chances = np.random.default_rng(0).dirichlet(np.ones(7), 50)
    assert np.array_equal(top_two(chances), -np.sort(-chances, axis=1)[:, :2])


def some_router() -> Router:
    rng = np.random.default_rng(0)
    return Router(0, rng.standard_normal((8, 3, 7)).astype(np.float32), np.ones(8))


def test_only_candidates_are_chosen_and_the_least_estimate_wins() -> None:
    router, features = some_router(), np.random.default_rng(1).standard_normal((40, 7))
    chosen = router.next_members(0b001, features, (1, 2))
    estimates = features @ router.weights[0b001].T
    assert chosen.tolist() == (1 + estimates[:, 1:].argmin(axis=1)).tolist()
    assert set(chosen) == {1, 2}
    assert router.next_members(0b001, features, {2}).tolist() == [2] * 40


def test_a_choice_does_not_depend_on_the_other_images() -> None:
    router, features = some_router(), np.random.default_rng(2).standard_normal((64, 7))
    together = router.next_members(0b010, features, (0, 2))
    assert together.tolist() == [router.next_members(0b010, row[None], (0, 2))[0] for row in features]


@pytest.mark.parametrize(
    ("first", "weights", "temperatures", "message"),
    [
        (0, np.zeros((8, 3, 6)), np.ones(8), "float32"),
        (0, np.zeros((4, 3, 7)), np.ones(4), "float32"),
        (0, np.zeros(8), np.ones(8), "float32"),
        (0, np.zeros((8, 3, 7)), np.ones(7), "float32"),
        (3, np.zeros((8, 3, 7)), np.ones(8), "cannot be 3"),
        (0, np.full((8, 3, 7), np.nan), np.ones(8), "finite"),
        (0, np.zeros((8, 3, 7)), np.zeros(8), "positive"),
    ],
)
def test_arrays_that_make_no_router_are_refused(
    first: int, weights: np.ndarray, temperatures: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Router(first, weights.astype(np.float32), temperatures)
