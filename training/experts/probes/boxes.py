"""Boxes that detection starts from, and how found boxes are told relative to them (Liu et al. 2016, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

BACKGROUND = 0
# Offsets and log sizes are a tenth and a fifth of their own units: all four then have about the same spread.
VARIANCES = (0.1, 0.1, 0.2, 0.2)
RATIOS = (1.0, 2.0, 0.5)
# Square roots of the areas, as shares of the picture's side: from one to the next the area doubles.
SIZES = (0.12, 0.17, 0.24, 0.34, 0.48, 0.68, 0.96)
LONGEST_STEP = 0.4
# exp of more would make boxes far beyond any picture, and infinite gradients.
LARGEST_LOG_SIZE = 4.0


@dataclass(frozen=True)
class Objects:
    """What is on one picture. boxes: float32[m, 4], left, top, right, bottom as shares of the picture's sides;
    classes: int64[m], from 0. Raises `ValueError` for other shapes, and for boxes without an area."""

    boxes: Tensor
    classes: Tensor

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.classes), 4) or self.classes.dim() != 1:
            raise ValueError(f"objects: boxes {tuple(self.boxes.shape)}, classes {tuple(self.classes.shape)}")
        if not bool((self.boxes[:, 2:] > self.boxes[:, :2]).all()):
            raise ValueError("objects: a box ends where it begins, or before")


@dataclass(frozen=True)
class Detections:
    """What was found on one picture, best first: boxes and classes as in `Objects`, scores: float32[m] in 0..1."""

    boxes: Tensor
    classes: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Level:
    """One map that boxes are found on: its rows and columns, and the sizes of the default boxes there."""

    rows: int
    columns: int
    sizes: tuple[float, ...]

    @property
    def kinds(self) -> int:
        """Default boxes around every place: each size in every ratio."""
        return len(self.sizes) * len(RATIOS)


def box_levels(rows: int, columns: int) -> tuple[Level, ...]:
    """The maps for a finest one of so many rows and columns, each with half of the places of the one before.

    A size belongs to the coarsest map on which a box moves by `LONGEST_STEP` of its side at most from one place to the
    next, so that some default box overlaps an object well wherever it lies; what is too small even for the finest map
    is there. (SSD deals one size to each map, from fine to coarse. Its finest map has 38 by 38 places: on the 12 by 12
    of a small tower the boxes of half of all objects would lie on maps too coarse to match them.)
    """
    grids = [(rows, columns)]
    while min(grids[-1]) > 1:
        grids.append(((grids[-1][0] + 1) // 2, (grids[-1][1] + 1) // 2))
    on: list[list[float]] = [[] for _ in grids]
    for size in SIZES:
        fitting = [level for level, grid in enumerate(grids) if 1 / min(grid) <= LONGEST_STEP * size]
        on[max(fitting, default=0)].append(size)
    last = max(level for level, sizes in enumerate(on) if sizes)
    return tuple(Level(*grid, tuple(sizes)) for grid, sizes in zip(grids[: last + 1], on, strict=False))


def make_anchors(levels: Sequence[Level]) -> Tensor:
    """Default boxes around every place of every map: float32[a, 4], centre x, y, width, height.

    In the order of a head's outputs: map, row, column, size, ratio.
    """
    found = []
    for level in levels:
        shapes = [(size * ratio**0.5, size / ratio**0.5) for size in level.sizes for ratio in RATIOS]
        for row, column in product(range(level.rows), range(level.columns)):
            centre = ((column + 0.5) / level.columns, (row + 0.5) / level.rows)
            found += [(*centre, *shape) for shape in shapes]
    return torch.tensor(found).view(-1, 4)


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Boxes float32[a, 4] (corners) relative to anchors float32[a, 4] (centres): float32[a, 4]."""
    centred = box_convert(boxes, "xyxy", "cxcywh")
    shift = (centred[:, :2] - anchors[:, :2]) / anchors[:, 2:]
    size = torch.log(centred[:, 2:] / anchors[:, 2:])
    return torch.cat([shift, size], dim=1) / torch.tensor(VARIANCES, device=boxes.device)


def decode_boxes(codes: Tensor, anchors: Tensor) -> Tensor:
    """Inverse of `encode_boxes`, float32[..., a, 4] to corners within the picture."""
    scaled = codes * torch.tensor(VARIANCES, device=codes.device)
    centre = scaled[..., :2] * anchors[:, 2:] + anchors[:, :2]
    half = scaled[..., 2:].clamp(max=LARGEST_LOG_SIZE).exp() * anchors[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1).clamp(0, 1)


def match_anchors(objects: Objects, anchors: Tensor, *, overlap: float = 0.5) -> tuple[Tensor, Tensor]:
    """What every anchor is to find: classes int64[a], from 1, `BACKGROUND` for none; codes float32[a, 4].

    Every object takes the anchor that overlaps it most, whatever that is; every other anchor takes the object that it
    overlaps most, if by more than `overlap`.
    """
    classes = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    if not len(objects.boxes):
        return classes, torch.zeros_like(anchors)
    overlaps = box_iou(objects.boxes, box_convert(anchors, "cxcywh", "xyxy"))
    best, owner = overlaps.max(dim=0)
    taken = _best_anchors(overlaps)
    owner[taken[taken >= 0]] = torch.nonzero(taken >= 0).flatten()
    best[taken[taken >= 0]] = 1.0
    matched = best > overlap
    classes[matched] = objects.classes[owner[matched]] + 1
    return classes, encode_boxes(objects.boxes[owner], anchors)


def _best_anchors(overlaps: Tensor) -> Tensor:
    """int64[m], an anchor for each of m objects, no anchor twice: the best pair of all first, then the best of what is
    left; -1 where no anchor is left. overlaps: float32[m, a]."""
    left = overlaps.clone()
    taken = torch.full((len(left),), -1, device=left.device)
    for _ in range(min(left.shape)):
        place = int(left.argmax())
        row, column = divmod(place, left.shape[1])
        taken[row] = column
        left[row], left[:, column] = -1.0, -1.0
    return taken
