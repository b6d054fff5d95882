"""Linear probes."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.committee.linear_probe import fit_at, fit_probe, minimise


def clusters(classes: int = 4, each: int = 30, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(classes), each))
    centres = rng.standard_normal((classes, 16))
    return (centres[truth] + spread * rng.standard_normal((len(truth), 16))).astype(np.float32), truth


def test_a_quadratic_bowl_is_descended_to_its_bottom() -> None:
    scale = np.geomspace(1, 100, 12).astype(np.float32)
    target = np.linspace(-1, 1, 12).astype(np.float32)

    def bowl(theta: np.ndarray) -> tuple[float, np.ndarray]:
        return float(0.5 * (scale * (theta - target) ** 2).sum()), scale * (theta - target)

    assert np.abs(minimise(bowl, np.zeros(12, dtype=np.float32)) - target).max() < 1e-3


def test_a_probe_tells_clusters_apart() -> None:
    features, truth = clusters()
    assert (fit_probe(features, truth, 4).logits(features).argmax(axis=1) == truth).mean() > 0.98


def test_the_found_probe_has_no_slope_left() -> None:
    features, truth = clusters(spread=1.5)
    probe = fit_at(features, truth, 4, 0.01)
    centred = features - features.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=1).mean())
    chances = np.exp(probe.logits(features))
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(len(truth)), truth] -= 1
    slope = chances.T @ (centred / length) / len(truth) + 0.01 * probe.weights * length
    assert np.abs(slope).max() < 2e-4
    assert np.abs(chances.mean(axis=0)).max() < 2e-4


def test_moving_and_stretching_the_features_changes_no_answer() -> None:
    features, truth = clusters(spread=1.0)
    moved = (3 * features + 5).astype(np.float32)
    first, second = fit_probe(features, truth, 4).logits(features), fit_probe(moved, truth, 4).logits(moved)
    assert np.allclose(first, second, atol=0.05)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="4 images are too few"):
        fit_probe(np.ones((4, 2), dtype=np.float32), np.zeros(4, dtype=np.int64), 2)


def test_features_that_are_all_alike_give_the_class_shares() -> None:
    truth = np.array([0, 0, 0, 1, 0, 0, 0, 1])
    probe = fit_at(np.ones((8, 3), dtype=np.float32), truth, 2, 0.01)
    logits = probe.logits(np.ones((1, 3), dtype=np.float32))[0]
    assert np.exp(logits[1] - logits[0]) == pytest.approx(1 / 3, rel=0.01)
