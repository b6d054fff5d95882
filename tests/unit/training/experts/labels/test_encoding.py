"""Dense labels to bytes and back."""

from __future__ import annotations

import numpy as np
import pytest

from training.experts.errors import ExpertError
from training.experts.labels.encoding import DEPTH_STEPS, decode, encode
from training.experts.protocol import Kind
from training.experts.scenes import make_scene

pytestmark = pytest.mark.torch


def test_classes_come_back_as_they_were() -> None:
    classes = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    found = decode(Kind.CLASSES, encode(Kind.CLASSES, classes))
    assert found.dtype == np.uint8
    assert np.array_equal(found, classes)


@pytest.mark.parametrize("kind", [Kind.DEPTH, Kind.DISPARITY])
@pytest.mark.parametrize(("low", "high"), [(0.5, 90.0), (-3.0, 3.0), (1000.0, 1000.5)])
def test_depth_is_off_by_half_a_step_at_most(kind: Kind, low: float, high: float) -> None:
    depth = np.random.default_rng(1).uniform(low, high, (30, 40)).astype(np.float32)
    depth[3:5, 7] = np.nan
    found = decode(kind, encode(kind, depth))
    assert found.dtype == np.float32
    assert np.array_equal(np.isnan(found), np.isnan(depth))
    assert np.nanmax(np.abs(found - depth)) <= 0.5 * (high - low) / DEPTH_STEPS + 1e-7 * abs(high)


def test_a_picture_of_one_depth_comes_back_exactly() -> None:
    found = decode(Kind.DEPTH, encode(Kind.DEPTH, np.full((4, 4), 2.5, np.float32)))
    assert (found == 2.5).all()


def test_what_is_infinitely_far_is_unknown() -> None:
    depth = np.array([[1.0, np.inf], [2.0, -np.inf]], np.float32)
    assert np.isnan(decode(Kind.DEPTH, encode(Kind.DEPTH, depth))).tolist() == [[False, True], [False, True]]


def test_normals_are_off_by_less_than_a_degree_in_every_direction() -> None:
    normals = np.random.default_rng(2).standard_normal((300, 300, 3))
    normals[0, :6] = np.concatenate([np.eye(3), -np.eye(3)])
    normals = (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32)
    found = decode(Kind.NORMALS, encode(Kind.NORMALS, normals))
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)
    degrees = np.degrees(np.arccos(np.clip((found.astype(np.float64) * normals).sum(axis=-1), -1, 1)))
    assert degrees.max() < 1
    assert degrees.mean() < 0.4
    assert np.allclose(found[0, :6], normals[0, :6], atol=1e-6)


def test_unknown_normals_stay_unknown() -> None:
    normals = np.full((4, 5, 3), np.nan, np.float32)
    normals[1, 2] = (0, 0, -1)
    found = decode(Kind.NORMALS, encode(Kind.NORMALS, normals))
    assert np.isnan(found).sum() == 3 * 19
    assert found[1, 2].tolist() == [0, 0, -1]


@pytest.mark.parametrize("kind", [Kind.DEPTH, Kind.DISPARITY, Kind.NORMALS])
def test_a_map_that_knows_nothing_is_refused(kind: Kind) -> None:
    shape = (4, 4, 3) if kind is Kind.NORMALS else (4, 4)
    with pytest.raises(ExpertError, match=f"knows the {kind} of no pixel"):
        encode(kind, np.full(shape, np.nan, np.float32))


def test_labels_of_a_scene_take_a_fraction_of_their_arrays() -> None:
    scene = make_scene(1, 128)
    sizes = [
        len(encode(Kind.CLASSES, scene.classes).payload) / scene.classes.nbytes,
        len(encode(Kind.DEPTH, scene.depth).payload) / scene.depth.nbytes,
        len(encode(Kind.NORMALS, scene.normals).payload) / scene.normals.nbytes,
    ]
    assert sizes[0] < 0.1
    assert sizes[1] < 0.5
    assert sizes[2] < 0.1
