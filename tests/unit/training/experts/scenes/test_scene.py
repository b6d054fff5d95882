"""Whole scenes: the same bytes for a seed, and maps, boxes and words that say the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from training.experts.scenes import CLASSES, Backdrop, SceneError, make_scene

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[5]

PRINT_DIGEST = """
import hashlib
from training.experts.scenes import make_scene
found = hashlib.sha256()
for seed in range(4):
    scene = make_scene(seed, 48)
    for part in (scene.image, scene.classes, scene.instances, scene.depth, scene.normals, str(scene.objects).encode()):
        found.update(part)
    found.update(" ".join(scene.captions).encode())
print(found.hexdigest())
"""


def _digest(hash_seed: str) -> str:
    command = [sys.executable, "-c", PRINT_DIGEST]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONHASHSEED": hash_seed}
    )
    return done.stdout


def test_a_seed_gives_the_same_bytes_in_every_process() -> None:
    assert _digest("1") == _digest("2")


def test_other_seeds_give_other_scenes() -> None:
    pictures = {make_scene(seed, 32).image.tobytes() for seed in range(20)}
    assert len(pictures) == 20


@pytest.mark.parametrize("shape", [(64, 64), (48, 96), (96, 48)])
def test_arrays_have_the_size_that_was_asked_for(shape: tuple[int, int]) -> None:
    scene = make_scene(5, shape)
    maps: list[npt.NDArray[Any]] = [
        scene.image,
        scene.classes,
        scene.instances,
        scene.depth,
        scene.normals,
        scene.disparity,
    ]
    assert [each.shape for each in maps] == [(*shape, 3), shape, shape, shape, (*shape, 3), shape]
    assert [str(each.dtype) for each in maps] == ["uint8", "uint8", "uint8", "float32", "float32", "float32"]


@pytest.mark.parametrize("seed", range(8))
def test_three_times_the_pixels_show_the_same_scene(seed: int) -> None:
    """The middle of a pixel is the middle of the middle one of the nine that replace it."""
    small, large = make_scene(seed, 32), make_scene(seed, 96)
    assert np.array_equal(small.classes, large.classes[1::3, 1::3])
    assert np.allclose(small.depth, large.depth[1::3, 1::3], rtol=1e-5, equal_nan=True)
    assert np.allclose(small.normals, large.normals[1::3, 1::3], atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("seed", range(12))
def test_maps_boxes_and_objects_say_the_same(seed: int) -> None:
    scene = make_scene(seed, 64)
    assert np.array_equal(scene.classes == 0, scene.instances == 0)
    assert np.array_equal(np.isnan(scene.depth), np.isnan(scene.normals).any(axis=-1))
    assert not np.isnan(scene.depth[scene.classes > 0]).any()
    lengths = np.linalg.norm(scene.normals, axis=-1)
    assert np.allclose(lengths[~np.isnan(lengths)], 1, atol=1e-5)
    assert [each.pixels for each in scene.objects] == sorted((each.pixels for each in scene.objects), reverse=True)
    for each in scene.objects:
        x0, y0, x1, y1 = each.box
        inside = scene.classes[y0:y1, x0:x1] == CLASSES.index(each.name)
        assert inside.sum() >= each.pixels
        assert inside.any(axis=0)[[0, -1]].all()
        assert inside.any(axis=1)[[0, -1]].all()


@pytest.mark.parametrize("seed", range(6))
def test_no_normal_looks_away_from_the_camera(seed: int) -> None:
    scene = make_scene(seed, 64)
    x, y = np.meshgrid(np.arange(64) + 0.5 - 32, np.arange(64) + 0.5 - 32)
    rays = np.stack([x / scene.focal_px, y / scene.focal_px, np.ones_like(x)], axis=-1)
    facing = (scene.normals * rays).sum(axis=-1)
    assert (facing[~np.isnan(facing)] <= 1e-6).all()


def test_every_class_appears() -> None:
    found: set[int] = set()
    for seed in range(120):
        found |= set(np.unique(make_scene(seed, 32).classes).tolist())
    assert found == set(range(len(CLASSES)))


def test_grounds_and_rooms_both_appear_and_only_the_sky_has_no_depth() -> None:
    kinds = set()
    for seed in range(30):
        scene = make_scene(seed, 32)
        kinds.add(scene.backdrop)
        assert np.array_equal(scene.disparity == 0, np.isnan(scene.depth))
        if scene.backdrop is Backdrop.ROOM:
            assert np.isnan(scene.depth).mean() < 0.02
    assert kinds == {Backdrop.GROUND, Backdrop.ROOM}


def test_a_photograph_shows_where_no_object_is() -> None:
    photograph = np.random.default_rng(4).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    scene = make_scene(7, 64, photograph)
    assert scene.backdrop is Backdrop.PHOTOGRAPH
    behind = scene.classes == 0
    assert 0.1 < behind.mean() < 1
    assert np.array_equal(np.isnan(scene.depth), behind)
    assert np.array_equal(np.isnan(scene.disparity), behind)
    same = (scene.image == photograph).all(axis=-1)
    assert same[behind].mean() > 0.85  # the rest are pixels on the edge of an object
    assert "under" not in " ".join(scene.captions)


def test_a_wide_photograph_is_cut_to_the_pictures_shape() -> None:
    photograph = np.zeros((40, 120, 3), np.uint8)
    photograph[:, 40:80] = 200
    scene = make_scene(7, 64, photograph)
    assert (scene.image[scene.classes == 0] > 100).all(axis=-1).mean() > 0.85


@pytest.mark.parametrize(
    ("seed", "size", "photograph"),
    [
        (-1, 32, None),
        (0, 4, None),
        (0, 32, np.zeros((8, 8), np.uint8)),
        (0, 32, np.zeros((8, 8, 3), np.float32)),
        (0, 32, np.zeros((8, 8, 4), np.uint8)),
        (0, 32, np.zeros((0, 8, 3), np.uint8)),
    ],
)
def test_what_cannot_be_drawn_is_refused(seed: int, size: int, photograph: npt.NDArray[Any] | None) -> None:
    with pytest.raises(SceneError):
        make_scene(seed, size, photograph)
