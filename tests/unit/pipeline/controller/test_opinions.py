"""What backbones think of a label set."""

from __future__ import annotations

import numpy as np
import pytest

from service.pipeline.controller.opinions import OPINIONS, OWN, opinions_of
from service.pipeline.logits import Floats

AGREEMENT = OWN


def logits_of(*probabilities: list[float]) -> Floats:
    """One image: `float32[b, 1, c]` whose softmax is what is given."""
    return np.log(np.array(probabilities, dtype=np.float32))[:, None, :]


def test_an_opinion_is_confidence_margin_entropy_and_agreement() -> None:
    opinions = opinions_of(logits_of([0.7, 0.2, 0.1], [0.3, 0.6, 0.1])).of_all()
    assert opinions.shape == (1, 2, OPINIONS)
    entropy = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1)) / np.log(3)
    assert opinions[0, 0, : AGREEMENT + 1] == pytest.approx([0.7, 0.5, entropy, 0.3], abs=1e-6)
    assert opinions[0, 1, AGREEMENT] == pytest.approx(0.2)


def test_the_company_of_one_is_the_mean_of_the_others() -> None:
    opinions = opinions_of(np.random.default_rng(0).standard_normal((4, 3, 6)).astype(np.float32)).of_all()
    own = opinions[:, :, : AGREEMENT + 1]
    assert np.allclose(opinions[:, 0, AGREEMENT + 1 :], own[:, 1:].mean(axis=1), atol=1e-6)


def test_absent_backbones_are_as_if_they_had_never_been() -> None:
    logits = np.random.default_rng(1).standard_normal((4, 5, 6)).astype(np.float32)
    present = np.tile(np.array([1, 0, 1, 1], dtype=np.float32), (5, 1))
    there = [0, 2, 3]
    assert np.allclose(opinions_of(logits).of(present)[:, there], opinions_of(logits[there]).of_all(), atol=1e-6)


def test_one_alone_agrees_with_itself_and_is_its_own_company() -> None:
    opinions = opinions_of(logits_of([0.5, 0.4, 0.1])).of_all()[0, 0]
    assert opinions[AGREEMENT] == 1
    assert np.array_equal(opinions[: AGREEMENT + 1], opinions[AGREEMENT + 1 :])


@pytest.mark.parametrize("classes", [1, 2, 200])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_every_number_lies_between_zero_and_one(classes: int, scale: float) -> None:
    logits = np.random.default_rng(2).standard_normal((3, 8, classes)).astype(np.float32) * np.float32(scale)
    opinions = opinions_of(logits).of_all()
    assert np.isfinite(opinions).all()
    assert opinions.min() >= -1e-6
    assert opinions.max() <= 1 + 1e-5


def test_rows_can_be_taken_before_or_after() -> None:
    opinions = opinions_of(np.random.default_rng(3).standard_normal((3, 8, 4)).astype(np.float32))
    rows = np.array([5, 1, 5])
    assert np.array_equal(opinions.take(rows).of_all(), opinions.of_all()[rows])
