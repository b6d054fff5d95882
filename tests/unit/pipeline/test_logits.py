from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.pipeline.logits import (
    Floats,
    backbone_logits,
    committee_probabilities,
    cosines,
    mean_logit,
    mean_probability,
    softmax,
    unit_rows,
    weighted_cosine,
)


def some_logits(backbones: int = 3, images: int = 4, classes: int = 5) -> Floats:
    return (np.random.default_rng(0).standard_normal((backbones, images, classes)) * 5).astype(np.float32)


def test_cosines_of_unit_rows_are_their_products() -> None:
    images, classes = unit_rows(some_logits()[0]), unit_rows(some_logits()[1])
    found = cosines(images, classes)
    assert found.shape == (4, 4)
    assert found[1, 2] == pytest.approx(float(images[1] @ classes[2]))


def test_a_zero_row_stays_zero() -> None:
    assert not unit_rows(np.zeros((1, 3), dtype=np.float32)).any()


def test_the_temperature_divides_what_the_scale_multiplies() -> None:
    cosine = np.array([0.5, -0.25], dtype=np.float32)
    assert backbone_logits(cosine, logit_scale=60.0, temperature=2.0).tolist() == [15.0, -7.5]


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20))
def test_probabilities_are_finite_and_sum_to_one(logits: list[float]) -> None:
    probabilities = softmax(np.array(logits, dtype=np.float32))
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_mean_policies_differ_as_their_names_say() -> None:
    logits = some_logits()
    assert np.allclose(mean_probability(logits), np.mean([softmax(each) for each in logits], axis=0))
    assert np.allclose(mean_logit(logits), softmax(logits.mean(axis=0)))
    assert np.array_equal(committee_probabilities("mean", logits), mean_probability(logits))
    assert np.array_equal(committee_probabilities("mean_logit", logits), mean_logit(logits))


@pytest.mark.parametrize("policy", [mean_probability, mean_logit])
def test_a_committee_of_one_is_that_one(policy: Callable[[Floats], Floats]) -> None:
    logits = some_logits(backbones=1)
    assert np.allclose(policy(logits), softmax(logits[0]), atol=1e-6)


def test_the_committee_cosine_is_weighted_and_stays_a_cosine() -> None:
    cosine = np.array([[0.2, 0.4], [0.8, 0.0]], dtype=np.float32)
    assert np.allclose(weighted_cosine(np.array([3, 1], dtype=np.float32), cosine), [0.35, 0.3])
