"""Scenes as pictures and targets of a fit: labels without an expert's mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.experts.scenes import Scene
from training.experts.targets import Targets


def scene_targets(scenes: Sequence[Scene], *, disparity: bool = False) -> tuple[Tensor, Targets]:
    """uint8[n, h, w, 3], and the targets of n scenes of one size.

    The depth is that of the scenes, unknown in the sky; or their disparity, which in the sky is 0.
    Raises `ValueError` for scenes of several sizes, or none.
    """
    depth = np.stack([scene.disparity if disparity else scene.depth for scene in scenes])
    normals = np.stack([scene.normals.transpose(2, 0, 1) for scene in scenes])
    classes = np.stack([scene.classes for scene in scenes]).astype(np.int64)
    targets = Targets(torch.from_numpy(classes), torch.from_numpy(depth), torch.from_numpy(normals))
    return torch.from_numpy(np.stack([scene.image for scene in scenes])), targets
