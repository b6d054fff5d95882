"""Static weights."""

from __future__ import annotations

import numpy as np
import pytest

import service.pipeline.controller.static as static
from service.pipeline.controller.controller import positive
from service.pipeline.controller.gradient import cross_entropy, weighted_mean
from service.pipeline.controller.static import fit_static
from service.pipeline.logits import Floats
from tests.support.committees import equals, leader, specialists


def objective(c2: np.ndarray, logits: Floats, truth: np.ndarray, strength: float) -> float:
    weights = np.tile(positive(c2.astype(np.float32)), (len(truth), 1))
    loss, _ = cross_entropy(weighted_mean(weights / np.float32(len(c2)), logits), truth)
    return loss + strength / 2 * float(c2 @ c2)


@pytest.mark.parametrize("strength", [1e-3, 0.1])
def test_no_other_weights_fit_better(strength: float) -> None:
    examples = leader().examples(4)
    found = fit_static(examples.logits, examples.truth, strength).astype(np.float64)
    least = objective(found, examples.logits, examples.truth, strength)
    for direction in (*np.eye(3), *-np.eye(3), np.ones(3), -np.ones(3)):
        assert least <= objective(found + 0.05 * direction, examples.logits, examples.truth, strength) + 1e-6


def test_the_expert_is_trusted_and_the_blind_are_not() -> None:
    examples = leader().examples(4)
    weights = dict(zip(examples.backbones, positive(fit_static(examples.logits, examples.truth, 1e-3)), strict=True))
    assert weights["expert"] > 5 * max(weights["blind"], weights["noisy"])


def test_a_strong_pull_leaves_the_logit_mean() -> None:
    examples = leader().examples(4)
    assert np.abs(fit_static(examples.logits, examples.truth, 1e4)).max() < 1e-3


def test_offsets_are_added_before_the_softplus() -> None:
    examples = leader().examples(4)
    plain = fit_static(examples.logits, examples.truth, 1e-8)
    moved = fit_static(examples.logits, examples.truth, 1e-8, np.full((len(examples), 3), 0.5, dtype=np.float32))
    assert np.allclose(positive(moved + np.float32(0.5)), positive(plain), rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_one_example_and_extreme_logits_give_finite_weights(scale: float) -> None:
    examples = specialists().examples(1)
    logits = examples.logits[:1] * np.float32(scale)
    assert np.isfinite(fit_static(logits, examples.truth[:1], 1e-3)).all()


def test_parts_of_the_examples_add_up_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = equals().examples(4)
    whole = fit_static(examples.logits, examples.truth, 1e-3)
    monkeypatch.setattr(static, "ROWS_AT_ONCE", 7)
    assert np.allclose(fit_static(examples.logits, examples.truth, 1e-3), whole, atol=1e-3)
