"""Committees' answers."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.zero_shot import majority_vote

pytestmark = pytest.mark.torch


def test_two_votes_beat_one_however_sure_it_is() -> None:
    probabilities = np.array([[[0.51, 0.49]], [[0.51, 0.49]], [[0.0, 1.0]]], dtype=np.float32)
    assert majority_vote(probabilities).tolist() == [0]


def test_equal_votes_are_settled_by_the_mean_probability() -> None:
    probabilities = np.array([[[0.6, 0.4]], [[0.1, 0.9]]], dtype=np.float32)
    assert majority_vote(probabilities).tolist() == [1]
    assert majority_vote(probabilities[::-1]).tolist() == [1]
