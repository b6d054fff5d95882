"""What every step of a multi-task fit sees: pictures with their texts and with what the experts say of them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from training.adapters.pairs import Pairs
from training.batches import step_generator
from training.data.augment import Augmentation, affine_matrices, jitter_colours
from training.experts.errors import ExpertError
from training.experts.targets import NO_CLASS, Targets

Integers = npt.NDArray[np.int64]
WHOLE = slice(None)
SIDED: Final = re.compile(r"\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class DenseBatch:
    """images: float32[n, 3, s, s] in 0..1; ids: int64[m, L], the m distinct texts; own: int64[n], which of them each
    picture is shown with; targets: of the same n pictures, moved as they are, of s by s pixels; match: bool[b, b] of
    all pictures of the batch, of which these may be a part: whether the j-th one's text also says what is on the
    i-th."""

    images: Tensor
    ids: Tensor
    own: Tensor
    match: Tensor
    targets: Targets


class Feed(Protocol):
    """Where batches come from: a set in memory, or files that are read as they are needed."""

    def __len__(self) -> int:
        """How many pictures there are."""

    def batch(self, rows: Integers, *, side: int, seed: int, step: int, part: slice = WHOLE) -> DenseBatch:
        """A part of the batch of the pictures `rows`, int64[b], at `side` pixels. What is random follows from `seed`
        and `step` alone, whatever the part."""


@dataclass(frozen=True, eq=False)
class PairsFeed:
    """Pictures with texts in memory, and the targets of all of them in the same order, on the same device.

    Raises `ExpertError` if there are not as many targets as pictures.
    """

    pairs: Pairs
    targets: Targets
    augmentation: Augmentation
    template_share: float = 0.5

    def __post_init__(self) -> None:
        if len(self.targets) not in (0, len(self.pairs)):
            raise ExpertError(f"{len(self.pairs)} pictures with the targets of {len(self.targets)}.")

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, rows: Integers, *, side: int, seed: int, step: int, part: slice = WHOLE) -> DenseBatch:
        """As `Feed.batch`."""
        device = self.pairs.images.device
        texts = self.pairs.draw(rows, np.random.default_rng((seed, step, 1)), self.template_share)
        distinct, own = np.unique(texts[part], return_inverse=True)
        at = torch.from_numpy(rows).to(device)
        mine, generator = at[part], step_generator(seed, step)
        images, targets = augment_densely(
            self.pairs.images[mine],
            self.targets.take(mine),
            self.augmentation,
            generator,
            side,
            of=len(rows),
            part=part,
        )
        return DenseBatch(
            images=images,
            ids=self.pairs.ids[torch.from_numpy(distinct).to(device)],
            own=torch.from_numpy(own).to(device),
            match=self.pairs.matches(at, torch.from_numpy(texts).to(device)),
            targets=targets,
        )


def augment_densely(
    images: Tensor,
    targets: Targets,
    strength: Augmentation,
    generator: torch.Generator,
    side: int,
    *,
    of: int | None = None,
    part: slice = WHOLE,
) -> tuple[Tensor, Targets]:
    """uint8[n, h, w, 3] to float32[n, 3, side, side] in 0..1, cropped, shifted, mirrored and coloured at random, with
    targets of `side` by `side` pixels that were moved as the pictures were.

    There is no rotation and no stretch: these would turn normals. What lies beyond the picture's edges, where it is
    continued by reflection, has no target. Targets are taken from the nearest pixel, never mixed. The pictures may be a
    `part` of a batch `of` more, and change as they would there.
    """
    planes = images.permute(0, 3, 1, 2).float().div_(255).contiguous()
    if planes.shape[-1] != side:
        planes = functional.interpolate(planes, size=(side, side), mode="bilinear", antialias=True)
    upright = replace(strength, rotation_degrees=0.0, stretch=0.0)
    total = len(planes) if of is None else of
    matrices = affine_matrices(total, upright, generator)[part].to(planes.device)
    grid = functional.affine_grid(matrices, [len(planes), 3, side, side], align_corners=False)
    moved = functional.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    coloured = jitter_colours(moved, strength, generator, of=total, part=part)
    return coloured, _move_targets(targets, grid, matrices[:, 0, 0] < 0)


def _move_targets(targets: Targets, grid: Tensor, mirrored: Tensor) -> Targets:
    """Targets looked up at `grid`, float32[n, s, s, 2] in -1..1; the normals of mirrored pictures point the other way
    along x. mirrored: bool[n]."""
    inside = (grid.abs() <= 1).all(dim=-1)

    def look_up(planes: Tensor) -> Tensor:
        return functional.grid_sample(planes, grid, mode="nearest", padding_mode="border", align_corners=False)

    classes, depth, normals = targets.classes, targets.depth, targets.normals
    if classes is not None:
        found = look_up(classes[:, None].float())[:, 0].round().long()
        classes = torch.where(inside, found, NO_CLASS)
    if depth is not None:
        depth = torch.where(inside, look_up(depth[:, None])[:, 0], math.nan)
    if normals is not None:
        normals = torch.where(inside[:, None], look_up(normals), math.nan)
        normals = torch.stack([torch.where(mirrored[:, None, None], -normals[:, 0], normals[:, 0]), *_yz(normals)], 1)
    return Targets(classes, depth, normals)


def _yz(normals: Tensor) -> tuple[Tensor, Tensor]:
    return normals[:, 1], normals[:, 2]


def unsided(captions: Sequence[str]) -> Sequence[str]:
    """Those that a mirror leaves true, as half of the pictures of a fit are mirrored; all where there is none such."""
    return [each for each in captions if not SIDED.search(each)] or captions
