"""Mean average precision of detections, as COCO defines it, without its size ranges and crowds.

Its own few lines rather than pycocotools or torchmetrics: those want files or tables of COCO's form and a compiler, and
give no more than this for boxes that are all alike.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import box_iou

from training.experts.probes.boxes import Detections, Objects

OVERLAPS = tuple(0.5 + 0.05 * step for step in range(10))
RECALLS = np.linspace(0, 1, 101)

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


def average_precisions(found: Sequence[Detections], truth: Sequence[Objects], classes: int, overlap: float) -> Floats:
    """Average precision of every class, float64[classes], NaN for a class that is on no picture.

    A detection is right if it overlaps, by `overlap` at least, an object of its class that no better detection has
    taken.
    """
    each: Floats = precision_table(found, truth, classes, [overlap])[0]
    return each


def precision_table(
    found: Sequence[Detections], truth: Sequence[Objects], classes: int, overlaps: Sequence[float] = OVERLAPS
) -> Floats:
    """`average_precisions` for each of `overlaps`, float64[o, classes], in little more time than for one."""
    return np.stack([_of_class(found, truth, label, overlaps) for label in range(classes)], axis=1)


def mean_average_precision(
    found: Sequence[Detections], truth: Sequence[Objects], classes: int, overlaps: Sequence[float] = OVERLAPS
) -> float:
    """Mean over `overlaps` (COCO's ten) and the classes that are there. Raises `ValueError` if there is no object."""
    each = precision_table(found, truth, classes, overlaps)
    if np.isnan(each).all():
        raise ValueError("no picture has an object; its detections have no precision")
    return float(np.nanmean(each))


def _of_class(found: Sequence[Detections], truth: Sequence[Objects], label: int, overlaps: Sequence[float]) -> Floats:
    """float64[o]."""
    objects = sum(int((each.classes == label).sum()) for each in truth)
    if objects == 0:
        return np.full(len(overlaps), np.nan)
    scores: list[npt.NDArray[np.float32]] = []
    hits: list[Booleans] = []
    for detections, things in zip(found, truth, strict=True):
        mine = detections.classes == label
        order = torch.argsort(detections.scores[mine], descending=True, stable=True)
        scores.append(detections.scores[mine][order].cpu().numpy())
        boxes, goals = detections.boxes[mine][order], things.boxes[things.classes == label]
        shared = box_iou(boxes, goals).cpu().numpy()
        hits.append(np.stack([_hits(shared, overlap) for overlap in overlaps]))
    order_all = np.argsort(-np.concatenate(scores), kind="stable")
    return np.array([interpolated_precision(each[order_all], objects) for each in np.concatenate(hits, axis=1)])


def _hits(overlaps: npt.NDArray[np.float32], overlap: float) -> Booleans:
    """bool[d]: which detections, best first, find an object that none before has taken. overlaps: float32[d, m]."""
    left = overlaps.copy()
    hits = np.zeros(len(left), dtype=np.bool_)
    if not left.size:
        return hits
    for i in np.flatnonzero(left.max(axis=1) >= overlap):
        best = int(left[i].argmax())
        if left[i, best] >= overlap:
            hits[i], left[:, best] = True, -1.0
    return hits


def interpolated_precision(hits: Booleans, objects: int) -> float:
    """Mean over 101 recalls of the best precision at that recall or more. hits: bool[d], detections best first."""
    if not len(hits):
        return 0.0
    right = np.cumsum(hits)
    precision, recall = right / np.arange(1, len(hits) + 1), right / objects
    best_after = np.maximum.accumulate(precision[::-1])[::-1]
    # A recall of 2 of 20 objects is the level 0.1, whatever the last bits say.
    place = np.searchsorted(recall + 1e-12, RECALLS, side="left")
    return float(np.where(place < len(hits), best_after[np.minimum(place, len(hits) - 1)], 0.0).mean())
