"""How often those who say p percent are right, at the scales that the towers were trained to and at the zoo's
temperatures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.pipeline.logits import Floats, softmax
from training.evaluate.committee.estimates import image_weights
from training.evaluate.committee.pools import TaskPools

BINS = 15
"""Of equal width (Guo et al. 2017)."""

MEAN = "mean"


@dataclass(frozen=True)
class Curve:
    """By bin the weight of the pictures whose confidence falls there, their mean confidence and accuracy (0 where there
    is none); `error`: the expected calibration error, the weighted mean of what the two differ by."""

    weight: tuple[float, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    error: float


@dataclass(frozen=True)
class Reliability:
    """`before`: at a temperature of 1; `after`: at the backbone's own (of the mean: at all of theirs)."""

    speaker: str
    before: Curve
    after: Curve


@dataclass(frozen=True)
class ReliabilityReport:
    """Every backbone, then their probability mean. Pictures count as in the (balanced) accuracy, tasks alike."""

    tasks: int
    speakers: tuple[Reliability, ...]


def measure_reliability(pools: Sequence[TaskPools]) -> ReliabilityReport:
    """On the test pools. Raises `ValueError` without tasks."""
    if not pools:
        raise ValueError("there is no labelled task")
    names = pools[0].backbones
    before: list[list[Floats]] = [[] for _ in (*names, MEAN)]
    after: list[list[Floats]] = [[] for _ in (*names, MEAN)]
    for task in pools:
        temperatures = np.array(task.temperatures, dtype=np.float32)[None, :, None]
        for kept, logits in ((before, task.test.logits * temperatures), (after, task.test.logits)):
            probabilities = softmax(logits)
            speakers = [*probabilities.transpose(1, 0, 2), probabilities.mean(axis=1)]
            for place, said in enumerate(speakers):
                kept[place].append(_points(task, np.asarray(said, dtype=np.float32)))
    return ReliabilityReport(
        tasks=len(pools),
        speakers=tuple(
            Reliability(name, curve(np.concatenate(raw, axis=1)), curve(np.concatenate(scaled, axis=1)))
            for name, raw, scaled in zip((*names, MEAN), before, after, strict=True)
        ),
    )


def _points(task: TaskPools, probabilities: Floats) -> Floats:
    """float32[3, n]: weight within the task, confidence, and whether it was right."""
    right = probabilities.argmax(axis=1) == task.test.truth
    return np.stack([image_weights(task), probabilities.max(axis=1), right]).astype(np.float32)


def curve(points: Floats) -> Curve:
    """From weight, confidence in 0..1 and rightness of every picture, float32[3, n]."""
    weight, confidence, right = points.astype(np.float64)
    weight = weight / weight.sum()
    # A bin holds its upper end, so that a confidence of 1 has one.
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    weights = np.bincount(place, weights=weight, minlength=BINS)
    divisor = np.where(weights > 0, weights, 1)
    said = np.bincount(place, weights=weight * confidence, minlength=BINS) / divisor
    was = np.bincount(place, weights=weight * right, minlength=BINS) / divisor
    error = float(weights @ np.abs(said - was))
    return Curve(tuple(weights.tolist()), tuple(said.tolist()), tuple(was.tolist()), error)
