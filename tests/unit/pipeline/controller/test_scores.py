"""Scores of held-out answers."""

from __future__ import annotations

import numpy as np
import pytest

from service.pipeline.controller.scores import joined, score
from service.pipeline.logits import softmax


def some_answers(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of the answers themselves."""
    generator = np.random.default_rng(0)
    logits = (2 * generator.standard_normal((n, 5))).astype(np.float32)
    drawn = (generator.random((n, 1)) > softmax(logits).cumsum(axis=1)[:, :-1]).sum(axis=1)
    return logits, drawn


def test_the_loss_is_the_likelihood_where_answers_are_calibrated() -> None:
    logits, truth = some_answers(4000)
    expected = -np.log(softmax(logits)[np.arange(4000), truth]).mean()
    assert score(logits, truth).loss == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("factor", [0.3, 1.7, 5.0])
def test_sharper_or_duller_answers_score_the_same(factor: float) -> None:
    logits, truth = some_answers()
    assert score(logits * np.float32(factor), truth).loss == pytest.approx(score(logits, truth).loss, abs=2e-3)


def test_accuracy_is_the_share_of_right_first_places() -> None:
    logits = np.array([[1, 0], [0, 1], [0, 1]], dtype=np.float32)
    assert score(logits, np.array([0, 1, 0])).accuracy == pytest.approx(2 / 3)


def test_groups_score_together_as_one() -> None:
    logits, truth = some_answers()
    parts = [score(logits[rows], truth[rows]) for rows in (slice(0, 50), slice(50, None))]
    whole = score(logits, truth)
    assert joined(parts).loss == pytest.approx(whole.loss)
    assert joined(parts).accuracy == whole.accuracy


def test_right_and_wrong_without_any_doubt_are_finite() -> None:
    logits = np.array([[1e4, 0], [0, 1e4]], dtype=np.float32)
    assert score(logits, np.array([0, 1])).loss == pytest.approx(0, abs=1e-6)
    assert np.isfinite(score(logits, np.array([1, 0])).loss)
