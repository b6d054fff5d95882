"""Accuracy on held-out scenes, beside answers that know no picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.experts.made_up_scenes import SIDE
from training.experts.nets.accuracy import Accuracy, baseline_answer, measure
from training.experts.nets.data import DenseSet, load_dense_set, truth_of
from training.experts.nets.tasks import Task
from training.experts.protocol import Dense, Identity, Pictures

pytestmark = pytest.mark.torch


class Oracle:
    """Knows the labels of a set, and says what `wrong` makes of them."""

    def __init__(self, dense: DenseSet, factor: float = 1.0) -> None:
        self.task, self.dense, self.factor = dense.task, dense, factor
        self.identity = Identity("oracle", "1", "00" * 32, dense.task.kind)

    def __call__(self, images: Pictures) -> Dense:
        known = self.dense.images.numpy()
        rows = [int(np.flatnonzero((known == image).all(axis=(1, 2, 3)))[0]) for image in images]
        labels: Dense = np.asarray(self.dense.labels)[rows]
        if self.task is Task.CLASSES:
            return labels
        return (self.factor * np.nan_to_num(labels)).astype(np.float32)


def measured(drawn: Path, task: Task, factor: float = 1.0) -> Accuracy:
    learnt, held_out = (load_dense_set([drawn], name, task) for name in ("drawn", "kept"))
    return measure(Oracle(held_out, factor), held_out, learnt, [drawn], "kept")


def test_who_knows_all_classes_is_right_everywhere_and_who_says_background_is_not(drawn: Path) -> None:
    found = measured(drawn, Task.CLASSES)
    assert found.expert == {"mean IoU": 1.0, "pixels right": 1.0}
    assert set(found.by_class.values()) == {1.0}
    background = (np.asarray(load_dense_set([drawn], "kept", Task.CLASSES).labels) == 0).mean()
    assert found.baseline["pixels right"] == pytest.approx(background, abs=1e-5)
    assert found.baseline["mean IoU"] == pytest.approx(background / len(found.by_class), abs=1e-5)


def test_depth_is_measured_up_to_a_factor(drawn: Path) -> None:
    found = measured(drawn, Task.DEPTH, factor=3.0)
    assert found.expert["absolute relative error"] < 2e-3
    assert found.baseline["absolute relative error"] > 0.02


def test_normals_are_measured_in_degrees(drawn: Path) -> None:
    right, opposite = measured(drawn, Task.NORMALS), measured(drawn, Task.NORMALS, factor=-1.0)
    assert right.expert["share within 30 degrees"] == 1
    assert right.expert["mean angle in degrees"] < 0.2
    assert opposite.expert["share within 30 degrees"] == 0
    assert opposite.expert["mean angle in degrees"] > 179.8
    assert 0 < right.baseline["share within 30 degrees"] < 1


def test_scenes_of_every_backdrop_have_their_own_figures(drawn: Path) -> None:
    found = measured(drawn, Task.NORMALS)
    assert set(found.by_backdrop) <= {"ground", "room"}
    assert found.pictures == 6


def test_a_sentence_names_both(drawn: Path) -> None:
    sentence = measured(drawn, Task.CLASSES).sentence()
    assert sentence.startswith("mean IoU 1.000 (0.")
    assert sentence.endswith("on 6 pictures of kept; in brackets: the most frequent class everywhere")


def test_the_blind_answer_is_the_mean_of_what_is_known_at_every_place(drawn: Path) -> None:
    dense = load_dense_set([drawn], "drawn", Task.DEPTH)
    truth = truth_of(Task.DEPTH, dense.targets(np.arange(len(dense)))).numpy()
    assert np.allclose(baseline_answer(dense)[0].numpy(), np.nanmean(truth, axis=0), atol=1e-6)
    normals = baseline_answer(load_dense_set([drawn], "drawn", Task.NORMALS))
    assert normals.shape == (1, 3, SIDE, SIDE)
    assert np.allclose(normals.norm(dim=1).numpy(), 1, atol=1e-5)
