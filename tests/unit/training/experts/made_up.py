"""Small pictures with texts and everything that experts could say of them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tests.unit.training.adapters.small_clip import CONTEXT, END, IMAGE
from training.adapters.pairs import Pairs
from training.experts.targets import NO_CLASS, Targets

CLASSES = 3


def generator(seed: int = 0) -> torch.Generator:
    """A stream of its own."""
    return torch.Generator().manual_seed(seed)


def unit_normals(n: int, side: int, seed: int = 0) -> Tensor:
    """float32[n, 3, side, side], z positive."""
    vectors = torch.randn(n, 3, side, side, generator=generator(seed))
    vectors[:, 2] = vectors[:, 2].abs() + 0.5
    return torch.nn.functional.normalize(vectors, dim=1)


def targets(n: int = 4, side: int = IMAGE, *, holes: bool = True) -> Targets:
    """All three tasks; with holes, each is missing in some corner."""
    classes = torch.randint(CLASSES, (n, side, side), generator=generator(1))
    depth = torch.rand(n, side, side, generator=generator(2)) * 4 + 1
    normals = unit_normals(n, side)
    if holes:
        classes[:, :2], depth[:, :, :3], normals[:, :, -2:] = NO_CLASS, math.nan, math.nan
    return Targets(classes, depth, normals)


def pairs(n: int = 12) -> Pairs:
    """n pictures of `IMAGE` pixels whose colour their text, one of three, goes with."""
    which = np.arange(n) % 3
    images = torch.randint(0, 90, (n, IMAGE, IMAGE, 3), dtype=torch.uint8, generator=generator(3))
    images[torch.arange(n), :, :, torch.from_numpy(which)] += 150
    ids = torch.zeros(3, CONTEXT, dtype=torch.int64)
    ids[:, 0], ids[:, 1] = torch.tensor([5, 9, 14]), END
    table = which[:, None].astype(np.int64)
    ones = np.ones(n, dtype=np.int64)
    words = ("red", "green", "blue")
    return Pairs(images, ids, torch.from_numpy(table), table, ones, ones, words, ("made",) * n, (None,) * n)


def pictured_targets(images: Tensor) -> Targets:
    """Targets that can be learnt from uint8[n, s, s, 3]: the brightest channel, a floor that lies nearer below, and a
    tilt that goes with how bright it is."""
    bright = images.float().amax(dim=3) / 255
    floor = torch.linspace(3, 1, images.shape[1])[None, :, None].expand_as(bright)
    tilt = torch.stack([bright - 0.5, torch.zeros_like(bright), torch.ones_like(bright)], dim=1)
    return Targets(images.argmax(dim=3), floor.contiguous(), torch.nn.functional.normalize(tilt, dim=1))
