"""Linear classification on frozen features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.evaluate.committee.linear_probe import Probe
from training.experts.errors import ExpertError
from training.experts.probes.classification import LabelledSet, fit_classifier, measure_classifier, pooled

pytestmark = pytest.mark.torch


def clouds(n: int, seed: int) -> LabelledSet:
    """Three clouds of points in four dimensions that a line can tell apart, but for a few."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    centres = np.array([[2, 0, 0, 5], [0, 2, 0, 5], [0, 0, 2, 5]], dtype=np.float32)
    return LabelledSet((centres[truth] + rng.normal(0, 0.5, (n, 4))).astype(np.float32), truth.astype(np.int64))


def test_a_linear_layer_learns_what_a_line_can_tell_apart() -> None:
    scores = measure_classifier(fit_classifier(clouds(200, 0), 3, seed=0), clouds(200, 1))
    assert scores["top1"] > 0.95
    assert scores["balanced"] > 0.95


def test_accuracy_by_hand() -> None:
    """Three of four right; of the two classes one wholly and one by half."""
    probe = Probe(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.float32))
    features = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], dtype=np.float32)
    scores = measure_classifier(probe, LabelledSet(features, np.array([0, 0, 1, 1])))
    assert scores == {"top1": pytest.approx(0.75), "balanced": pytest.approx(0.75)}
    scores = measure_classifier(probe, LabelledSet(features[1:], np.array([0, 1, 1])))
    assert scores == {"top1": pytest.approx(2 / 3), "balanced": pytest.approx(0.75)}


def test_the_seed_alone_decides_what_is_fitted() -> None:
    one, same = (fit_classifier(clouds(60, 0), 3, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.weights, same.weights)


def test_maps_are_averaged_over_their_places() -> None:
    places = torch.arange(12.0).view(1, 2, 2, 3)
    np.testing.assert_allclose(pooled(places), [[2.5, 8.5]])


def test_sets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ExpertError, match=r"features \(3, 4\) with the classes of 2 pictures"):
        LabelledSet(np.zeros((3, 4), np.float32), np.zeros(2, np.int64))
    with pytest.raises(ExpertError, match="classes go from 0 to 1, not 0 to 2"):
        fit_classifier(clouds(30, 0), 2, seed=0)
    with pytest.raises(ExpertError, match="too few for a probe"):
        fit_classifier(clouds(3, 0), 3, seed=0)
    with pytest.raises(ExpertError, match="one picture at least"):
        measure_classifier(
            fit_classifier(clouds(30, 0), 3, seed=0), LabelledSet(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
        )
