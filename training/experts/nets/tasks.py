"""What the experts trained here learn, what they lose by, and how they answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from training.experts.metrics import attenuated_angular_loss
from training.experts.protocol import Kind
from training.experts.targets import NO_CLASS

FARTHEST = 30.0
"""Depth, in heights of an object, from which on everything counts as equally far: the sky too."""

SHIFT_SHARE = 0.5
"""How much of a picture's mean error in log depth is forgiven (Eigen et al. 2014, equation 4)."""

SMALLEST_ERROR = 1e-6


class Task(StrEnum):
    """What an expert answers with."""

    CLASSES = "classes"
    DEPTH = "depth"
    NORMALS = "normals"

    @property
    def store(self) -> str:
        """Exact labels that it learns from.

        For depth these are disparities: they say of the sky that it is infinitely far, where a depth says nothing.
        """
        return "exact-disparity" if self is Task.DEPTH else f"exact-{self}"

    @property
    def kind(self) -> Kind:
        """Of its answers.

        Depth is answered as disparity, up to a factor: how large a thing in a photograph is nobody tells, and so the
        distance has no unit there; what carries over is what lies how many times as far as what. Disparity also
        gives the sky a value (close to 0) instead of a hole, and is what the paper's expert (DPT) answers with, so
        that the loss of a fit is the same for both.
        """
        return {Task.CLASSES: Kind.CLASSES, Task.DEPTH: Kind.DISPARITY, Task.NORMALS: Kind.NORMALS}[self]

    def outputs(self, classes: int) -> int:
        """Channels of the network: logits; log depth; a normal, and how sure the network is of it."""
        return {Task.CLASSES: classes, Task.DEPTH: 1, Task.NORMALS: 4}[self]

    def loss(self, found: Tensor, truth: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """A scalar. found: float32[n, outputs, h, w]; truth as `Targets` has it (disparities for depth).

        Classes: cross-entropy, weighted. Depth: the scale-invariant error of log depth. Normals: the likelihood of the
        angular von Mises-Fisher distribution, as the paper's expert learns (Bae et al. 2021).
        """
        if self is Task.CLASSES:
            return functional.cross_entropy(found, truth, weight=class_weights, ignore_index=NO_CLASS)
        if self is Task.DEPTH:
            return log_depth_loss(found[:, 0], truth)
        return attenuated_angular_loss(found, truth)

    def answer(self, found: Tensor) -> npt.NDArray[Any]:
        """What `kind` says, of n pictures, for the network's float32[n, outputs, h, w]."""
        if self is Task.CLASSES:
            return found.argmax(dim=1).to(torch.uint8).cpu().numpy()
        if self is Task.DEPTH:
            return torch.exp(-found[:, 0]).cpu().numpy().astype(np.float32)
        normals = functional.normalize(found[:, :3], dim=1).permute(0, 2, 3, 1)
        return np.ascontiguousarray(normals.cpu().numpy(), dtype=np.float32)


def log_depth(disparity: Tensor) -> Tensor:
    """Log depth, at most that of `FARTHEST`; NaN stays NaN."""
    return -disparity.clamp(min=1 / FARTHEST).log()


def log_depth_loss(found: Tensor, disparity: Tensor) -> Tensor:
    """Root of the mean square of the error in log depth, less `SHIFT_SHARE` of the squared mean error, of every
    picture; the mean over pictures that have anything, a scalar. Both float32[n, h, w]."""
    known = ~disparity.isnan()
    count = known.sum(dim=(1, 2))
    off = torch.where(known, found - torch.nan_to_num(log_depth(disparity)), 0)
    size = count.clamp(min=1)
    mean, square = off.sum(dim=(1, 2)) / size, off.square().sum(dim=(1, 2)) / size
    each = (square - SHIFT_SHARE * mean.square()).clamp(min=SMALLEST_ERROR).sqrt()
    return each[count > 0].mean() if (count > 0).any() else found.sum() * 0


@dataclass(frozen=True)
class ClassBalance:
    """How much pixels of a class count. A pixel's weight falls with the root of its class's share: by the share itself,
    objects would grow over their edges, since background costs next to nothing."""

    weights: tuple[float, ...]

    @classmethod
    def of_counts(cls, counts: npt.NDArray[np.int64]) -> ClassBalance:
        """counts: pixels of each class. The mean weight of a pixel is 1; a class that is nowhere weighs nothing."""
        roots = np.divide(1.0, np.sqrt(counts), out=np.zeros(len(counts)), where=counts > 0)
        scale = counts.sum() / (roots * counts).sum()
        return cls(tuple(float(each) for each in np.round(roots * scale, 6)))
