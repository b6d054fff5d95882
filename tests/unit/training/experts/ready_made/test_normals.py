"""Normals out of disparity, held against exact ones."""

from __future__ import annotations

import numpy as np
import pytest

from training.experts.ready_made.normals import focal_of, normals_from_disparity
from training.experts.scenes import make_scene

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("normal", [(0, 0, -1), (0, -1, -0.2), (0.5, 0.3, -1), (-0.7, 0.1, -0.4)])
def test_normals_of_a_plane_are_exact(normal: tuple[float, float, float]) -> None:
    unit = np.array(normal) / np.linalg.norm(normal)
    focal = focal_of(60, 20, 30)
    x, y = np.meshgrid((np.arange(30) + 0.5 - 15) / focal, (np.arange(20) + 0.5 - 10) / focal)
    disparity = -(unit[0] * x + unit[1] * y + unit[2]) / 3.0
    seen = disparity > 0
    disparity = np.where(seen, disparity, np.nan)[None].astype(np.float64)
    found = normals_from_disparity(disparity, focal)
    known = ~np.isnan(found[0]).any(axis=-1)
    assert known.sum() > 0.8 * seen.sum()
    assert np.allclose(found[0][known], unit, atol=1e-5)


def test_focal_length_follows_from_the_view() -> None:
    assert focal_of(90, 100, 300) == pytest.approx(50)
    assert focal_of(90, 300, 100) == pytest.approx(50)


@pytest.mark.parametrize("seed", [1, 5, 20])
def test_normals_of_a_scene_come_out_of_its_depth(seed: int) -> None:
    scene = make_scene(seed, 192)
    found = normals_from_disparity(1 / scene.depth[None], scene.focal_px)[0]
    both = ~np.isnan(found).any(axis=-1) & ~np.isnan(scene.depth)
    assert both.sum() > 0.98 * (~np.isnan(scene.depth)).sum()
    degrees = np.degrees(np.arccos(np.clip((found * scene.normals).sum(axis=-1)[both], -1, 1)))
    assert np.median(degrees) < 1
    assert np.mean(degrees < 10) > 0.93


def test_what_is_unknown_stays_unknown_and_does_not_spread() -> None:
    disparity = np.ones((1, 8, 8))
    disparity[0, 3, 4] = np.nan
    found = normals_from_disparity(disparity, 10.0)
    assert np.isnan(found[0, 3, 4]).all()
    assert np.isnan(found).any(axis=-1).sum() == 1
    assert np.allclose(found[0, 3, 5], (0, 0, -1))
