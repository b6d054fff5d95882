"""Fitted temperatures."""

from __future__ import annotations

import numpy as np
import pytest

from service.pipeline.logits import softmax
from training.evaluate.temperature import fit_temperature, nll

pytestmark = pytest.mark.torch


def _task(temperature: float, seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, 5)).astype(np.float32)
    cumulative = softmax((logits / temperature).astype(np.float32)).cumsum(axis=1)
    return logits, (rng.random((n, 1)) > cumulative[:, :-1]).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_drew_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature([_task(temperature, 0)]) == pytest.approx(temperature, rel=0.1)


def test_no_other_temperature_fits_better() -> None:
    logits, truth = _task(2.0, 1, n=500)
    found = fit_temperature([(logits, truth)])
    assert all(nll(logits, truth, found) <= nll(logits, truth, found * factor) for factor in (0.9, 0.99, 1.01, 1.1))


def test_tasks_count_alike_whatever_their_size() -> None:
    small, large = _task(0.5, 2, n=300), _task(3.0, 3, n=6000)
    both, doubled = fit_temperature([small, large]), fit_temperature([small, large, large])
    assert 0.5 < both < doubled < 3.3


def test_the_likelihood_is_that_of_the_softmax() -> None:
    logits, truth = _task(1.0, 4, n=50)
    expected = -np.log(softmax((logits / 2).astype(np.float32))[np.arange(50), truth]).mean()
    assert nll(logits, truth, 2.0) == pytest.approx(expected, rel=1e-5)


def test_without_tasks_there_is_no_temperature() -> None:
    with pytest.raises(ValueError, match="at least one"):
        fit_temperature([])
