"""A detection probe in the manner of SSD (Liu et al. 2016): boxes from a frozen tower's map in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms

from training.experts.maps import MapShape
from training.experts.probes.boxes import (
    BACKGROUND,
    Detections,
    Objects,
    box_levels,
    decode_boxes,
    make_anchors,
    match_anchors,
)
from training.experts.psp import convolution

NEGATIVES_PER_POSITIVE = 3
FINEST = 12
"""Places along the side of the finest map; a tower's own map is enlarged to as many where it has fewer."""
MOST_CANDIDATES = 400


class SsdProbe(nn.Module):
    """Smaller and smaller maps made of a tower's own; two convolutions on each say what is in every default box and
    where it really lies."""

    anchors: Tensor

    def __init__(self, shape: MapShape, classes: int, *, width: int = 128) -> None:
        super().__init__()
        self.classes = classes
        self.enter = convolution(shape.channels, width, 1)
        self.levels = box_levels(max(shape.rows, FINEST), max(shape.columns, FINEST))
        self.shrink = nn.ModuleList(_halve(width) for _ in self.levels[1:])
        self.what = nn.ModuleList(nn.Conv2d(width, each.kinds * (classes + 1), 3, padding=1) for each in self.levels)
        self.where = nn.ModuleList(nn.Conv2d(width, each.kinds * 4, 3, padding=1) for each in self.levels)
        self.register_buffer("anchors", make_anchors(self.levels), persistent=False)

    def forward(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """float32[n, c, h, w] -> logits float32[n, a, 1 + classes] and codes float32[n, a, 4] of a default boxes."""
        finest = (self.levels[0].rows, self.levels[0].columns)
        entered = self.enter(places)
        if entered.shape[-2:] != finest:
            entered = functional.interpolate(entered, size=finest, mode="bilinear", align_corners=False)
        maps = [entered]
        for step in self.shrink:
            maps.append(step(maps[-1]))
        logits = [_per_anchor(head(each), self.classes + 1) for head, each in zip(self.what, maps, strict=True)]
        codes = [_per_anchor(head(each), 4) for head, each in zip(self.where, maps, strict=True)]
        return torch.cat(logits, dim=1), torch.cat(codes, dim=1)


def _halve(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False), nn.GroupNorm(1, width), nn.ReLU())


def _per_anchor(planes: Tensor, values: int) -> Tensor:
    """float[n, kinds * values, h, w] -> float[n, h * w * kinds, values]."""
    return planes.permute(0, 2, 3, 1).reshape(len(planes), -1, values)


@dataclass(frozen=True)
class Goals:
    """What every one of a default boxes of n pictures is to find, as `match_anchors` says: classes int64[n, a], codes
    float32[n, a, 4]."""

    classes: Tensor
    codes: Tensor

    def take(self, rows: Tensor) -> "Goals":
        """Those of the pictures `rows`, int64[m]."""
        return Goals(self.classes[rows], self.codes[rows])

    def to(self, device: torch.device) -> "Goals":
        """On `device`."""
        return Goals(self.classes.to(device), self.codes.to(device))


def match_all(objects: Sequence[Objects], anchors: Tensor) -> Goals:
    """What pictures have, for all default boxes; made once for a fit on maps that do not change."""
    classes, codes = zip(*(match_anchors(each, anchors) for each in objects), strict=True)
    return Goals(torch.stack(classes), torch.stack(codes))


def detection_loss(logits: Tensor, codes: Tensor, objects: Sequence[Objects], anchors: Tensor) -> Tensor:
    """`goals_loss` for objects that were not matched before."""
    return goals_loss(logits, codes, match_all(objects, anchors))


def goals_loss(logits: Tensor, codes: Tensor, goals: Goals) -> Tensor:
    """Equation 1 there, a scalar: cross-entropy of the classes and smooth L1 of the boxes, over the matched anchors.

    Of the anchors without an object only the hardest count, three for each that has one; without any object in the
    batch the hardest `NEGATIVES_PER_POSITIVE` of each picture do.
    """
    positive = goals.classes != BACKGROUND
    where = functional.smooth_l1_loss(codes[positive], goals.codes[positive], reduction="sum")
    what = functional.cross_entropy(logits.flatten(0, 1), goals.classes.flatten(), reduction="none")
    what = what.view_as(goals.classes)
    with torch.no_grad():
        hardness = what.masked_fill(positive, -torch.inf)
        rank = hardness.argsort(dim=1, descending=True).argsort(dim=1)
        wanted = NEGATIVES_PER_POSITIVE * positive.sum(dim=1, keepdim=True).clamp(min=1)
        negative = (rank < wanted) & ~positive
    return (where + what[positive | negative].sum()) / positive.sum().clamp(min=1)


@torch.no_grad()
def detect(
    logits: Tensor, codes: Tensor, anchors: Tensor, *, floor: float = 0.01, overlap: float = 0.45, most: int = 100
) -> list[Detections]:
    """What was found on every picture: boxes whose class scores at least `floor`, of those of one class that overlap by
    more than `overlap` the best alone, `most` of them at most, best first."""
    chances = logits.softmax(dim=2)[..., 1:]
    boxes = decode_boxes(codes, anchors)
    found = []
    for each, corners in zip(chances, boxes, strict=True):
        which, what = torch.nonzero(each >= floor, as_tuple=True)
        scores, places = each[which, what], corners[which]
        real = (places[:, 2:] > places[:, :2]).all(dim=1)
        best = scores[real].topk(min(MOST_CANDIDATES, int(real.sum()))).indices
        scores, places, what = scores[real][best], places[real][best], what[real][best]
        kept = batched_nms(places, scores, what, overlap)[:most]
        found.append(Detections(places[kept], what[kept], scores[kept]))
    return found
