"""Logistic regression on all logits, and what minimises its loss."""

from __future__ import annotations

import numpy as np

from tests.support.committees import specialists
from training.evaluate.committee.stacking import fit_stacking, minimise, stacked


def test_minimise_finds_the_minimum_of_a_long_valley() -> None:
    scales = np.array([1, 10, 100], dtype=np.float32)
    target = np.array([1, -2, 3], dtype=np.float32)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        apart = scales * (theta - target)
        return float(apart @ (theta - target)) / 2, apart

    found = minimise(loss, np.zeros(3, dtype=np.float32), most_steps=200)
    np.testing.assert_allclose(found, target, atol=0.02)


def test_a_fit_is_better_than_any_small_step_away_from_it() -> None:
    examples = specialists(4).examples(8)
    inputs = stacked(examples.logits)
    inputs = inputs / inputs.std()

    def loss(weights: np.ndarray, bias: np.ndarray) -> float:
        scores = (inputs @ weights + bias).astype(np.float64)
        shifted = scores - scores.max(axis=1, keepdims=True)
        chosen = shifted[np.arange(len(scores)), examples.truth]
        return float((np.log(np.exp(shifted).sum(axis=1)) - chosen).sum() + (weights.astype(np.float64) ** 2).sum() / 2)

    fit = fit_stacking(examples.logits, examples.truth)
    here = loss(fit.weights, fit.bias)
    generator = np.random.default_rng(0)
    for _ in range(20):
        step = generator.standard_normal(fit.weights.shape).astype(np.float32)
        assert loss(fit.weights + 0.05 * step / np.linalg.norm(step), fit.bias) > here - 1e-3


def test_it_learns_whom_to_ask_for_which_class() -> None:
    committee = specialists(6)
    examples = committee.examples(16)
    _, logits, truth = committee.test(600)
    fit = fit_stacking(examples.logits, examples.truth)
    right = (fit.scores(logits.transpose(1, 0, 2)).argmax(axis=1) == truth).mean()
    assert right > (logits.mean(axis=0).argmax(axis=1) == truth).mean() + 0.1


def test_what_all_classes_share_says_nothing() -> None:
    examples = specialists(4).examples(4)
    fit = fit_stacking(examples.logits, examples.truth)
    np.testing.assert_allclose(fit.scores(examples.logits + 7), fit.scores(examples.logits), atol=1e-3)
