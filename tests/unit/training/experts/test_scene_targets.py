"""Scenes as targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.experts.scene_targets import scene_targets
from training.experts.scenes import make_scene

pytestmark = pytest.mark.torch


def test_scenes_become_pictures_and_targets() -> None:
    scenes = [make_scene(seed, 32) for seed in range(3)]
    images, targets = scene_targets(scenes)
    assert images.shape == (3, 32, 32, 3)
    assert targets.classes is not None
    assert targets.depth is not None
    assert targets.normals is not None
    assert np.array_equal(targets.classes[2].numpy(), scenes[2].classes)
    assert np.array_equal(targets.depth[1].numpy(), scenes[1].depth, equal_nan=True)
    assert np.array_equal(targets.normals[0].permute(1, 2, 0).numpy(), scenes[0].normals, equal_nan=True)


def test_the_sky_has_a_disparity_and_no_depth() -> None:
    scene = next(scene for scene in (make_scene(seed, 32) for seed in range(20)) if np.isnan(scene.depth).any())
    _, by_depth = scene_targets([scene])
    _, by_disparity = scene_targets([scene], disparity=True)
    assert by_depth.depth is not None
    assert by_disparity.depth is not None
    sky = by_depth.depth.isnan()
    assert (by_disparity.depth[sky] == 0).all()
    assert torch.allclose(by_disparity.depth[~sky], 1 / by_depth.depth[~sky])


def test_scenes_of_several_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        scene_targets([make_scene(1, 32), make_scene(1, 48)])
