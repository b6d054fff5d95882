"""Scenes as a network sees them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.experts.made_up_scenes import CALM, COUNT, SIDE, UNTOUCHED
from training.data.rows import DataError
from training.data.sources import read_rows
from training.experts.errors import ExpertError
from training.experts.nets.data import Look, change_look, draw_batch, labels_beside, load_dense_set, truth_of
from training.experts.nets.tasks import Task
from training.experts.scenes import CLASSES, make_scene
from training.experts.targets import Targets

pytestmark = pytest.mark.torch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_set_holds_pictures_and_labels_of_one_task(drawn: Path) -> None:
    dense = load_dense_set([drawn], "drawn", Task.CLASSES)
    assert len(dense) == COUNT
    assert dense.digests == tuple(row.digest for row in read_rows(drawn, ["drawn"]))
    assert dense.identity.classes == CLASSES
    scene = make_scene(103, SIDE)
    assert np.array_equal(dense.images[3].numpy(), scene.image)
    assert np.array_equal(truth_of(Task.CLASSES, dense.targets([3]))[0].numpy(), scene.classes)
    counts = dense.class_counts()
    assert counts.sum() == COUNT * SIDE * SIDE
    assert counts[0] == (np.asarray(dense.labels) == 0).sum()


def test_depth_is_learnt_from_disparity_and_normals_come_channels_first(drawn: Path) -> None:
    depth = truth_of(Task.DEPTH, load_dense_set([drawn], "drawn", Task.DEPTH).targets([2]))[0].numpy()
    normals = truth_of(Task.NORMALS, load_dense_set([drawn], "drawn", Task.NORMALS).targets([2]))[0].numpy()
    scene = make_scene(102, SIDE)
    assert np.nanmax(np.abs(depth - scene.disparity)) < 1e-3
    assert np.nanmin((normals * scene.normals.transpose(2, 0, 1)).sum(axis=0)) > np.cos(np.radians(1.5))


def test_without_changes_a_batch_is_what_is_on_disk(drawn: Path) -> None:
    dense = load_dense_set([drawn], "drawn", Task.CLASSES)
    images, truth = draw_batch(dense, np.array([5, 1]), CALM, UNTOUCHED, generator())
    assert torch.allclose(images, dense.images[[5, 1]].permute(0, 3, 1, 2) / 255, atol=1e-4)
    assert torch.equal(truth, truth_of(Task.CLASSES, dense.targets([5, 1])))


def test_a_batch_follows_from_its_generator_alone(drawn: Path) -> None:
    dense = load_dense_set([drawn], "drawn", Task.DEPTH)
    strong = replace(CALM, scale=(0.4, 1.1), mirror=0.5)
    first, again, other = (draw_batch(dense, np.arange(4), strong, Look(), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1].nan_to_num(-1), again[1].nan_to_num(-1))
    assert not torch.equal(first[0], other[0])


def test_a_changed_look_keeps_size_and_range() -> None:
    images = torch.rand(8, 3, 16, 16, generator=generator())
    changed = change_look(images, Look(), generator(3))
    assert changed.shape == images.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert (changed - images).abs().mean() > 0.01


def test_looks_are_what_they_are_called() -> None:
    images = torch.rand(8, 3, 16, 16, generator=generator())
    grey = change_look(images, replace(UNTOUCHED, grey=1.0), generator())
    assert torch.equal(grey[:, 0], grey[:, 2])
    blurred = change_look(images, replace(UNTOUCHED, blur=0.3, blurred=1.0), generator())
    assert blurred.diff(dim=-1).abs().mean() < 0.7 * images.diff(dim=-1).abs().mean()
    noisy = change_look(images, replace(UNTOUCHED, noise=0.1), generator())
    assert 0.02 < float((noisy - images).std()) < 0.1
    tinted = change_look(images * 0.5, replace(UNTOUCHED, tint=0.2), generator()) / (images * 0.5)
    assert float(tinted.flatten(2).std(dim=2).max()) < 1e-3
    assert float(tinted.mean(dim=(2, 3)).std()) > 0.02


def test_sources_without_exact_labels_are_one_sentence(drawn: Path, small_data: Path) -> None:
    with pytest.raises(ExpertError, match="no exact labels of things here"):
        load_dense_set([small_data], "things", Task.DEPTH)
    with pytest.raises((DataError, ExpertError), match="nothing"):
        load_dense_set([drawn], "nothing", Task.DEPTH)


def test_labels_of_other_pictures_are_refused(drawn: Path, small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "drawn.parquet").write_bytes((small_data / "things.parquet").read_bytes())
    (tmp_path / "labels").symlink_to(drawn / "labels")
    with pytest.raises(ExpertError, match="has labels of other pictures than those of drawn"):
        load_dense_set([tmp_path], "drawn", Task.CLASSES)


def test_labels_are_found_in_any_of_the_folders(drawn: Path, small_data: Path) -> None:
    assert len(labels_beside([small_data, drawn], "kept", "exact-normals")) == 6


def test_a_task_without_targets_is_an_error() -> None:
    with pytest.raises(ValueError, match="targets without depth"):
        truth_of(Task.DEPTH, Targets())
