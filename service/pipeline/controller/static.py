"""Static weights: one per backbone, the same for every image. Few numbers, so few examples are enough for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.pipeline.controller.controller import UNIT_SHIFT, positive
from service.pipeline.controller.gradient import Integers, cross_entropy, row_products, weighted_mean
from service.pipeline.logits import Floats, softmax

Doubles = NDArray[np.float64]

MOST_STEPS: Final = 30
MOST_HALVINGS: Final = 12
ENOUGH: Final = 1e-7
ROWS_AT_ONCE: Final = 2048
"""Bounds the memory of one step: it works on arrays of `rows * backbones * classes` numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class _Slope:
    """Of the mean loss in c2: its value, gradient `float64[b]` and Gauss-Newton curvature `float64[b, b]`."""

    loss: float
    gradient: Doubles
    curvature: Doubles


def fit_static(logits: Floats, truth: Integers, strength: float, offsets: Floats | None = None) -> Floats:
    """`c2 float32[b]` that minimises the cross-entropy of weights `softplus(offsets + c2 + k)` plus
    `strength / 2 * |c2|^2`, by damped Gauss-Newton steps from 0.

    `logits` is `float32[n, b, c]`, `truth` `int64[n]`, `offsets` `float32[n, b]` or None for 0. `strength > 0` keeps
    the minimum finite and the step defined where examples are few or all alike.
    """
    count = logits.shape[1]
    added = np.zeros(logits.shape[:2], dtype=np.float32) if offsets is None else offsets
    c2 = np.zeros(count)
    here = _slope(logits, truth, added, c2)
    for _ in range(MOST_STEPS):
        curvature = here.curvature + strength * np.eye(count)
        step = np.linalg.solve(curvature, here.gradient + strength * c2)
        value = here.loss + strength / 2 * float(c2 @ c2)
        for halving in range(MOST_HALVINGS):
            candidate = c2 - step / 2**halving
            there = _slope(logits, truth, added, candidate)
            lower = there.loss + strength / 2 * float(candidate @ candidate)
            if lower < value:
                break
        else:
            break
        c2, here = candidate, there
        if value - lower < ENOUGH:
            break
    return c2.astype(np.float32)


def _slope(logits: Floats, truth: Integers, offsets: Floats, c2: Doubles) -> _Slope:
    images, count, _ = logits.shape
    loss, gradient, curvature = 0.0, np.zeros(count), np.zeros((count, count))
    for first in range(0, images, ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        share = len(truth[part]) / images
        found = _slope_of_part(logits[part], truth[part], (offsets[part] + c2).astype(np.float32))
        loss += share * found.loss
        gradient += share * found.gradient
        curvature += share * found.curvature
    return _Slope(loss, gradient, curvature)


def _slope_of_part(logits: Floats, truth: Integers, t: Floats) -> _Slope:
    images, count, _ = logits.shape
    combined = weighted_mean(positive(t) / np.float32(count), logits)
    loss, d_logits = cross_entropy(combined, truth)
    slopes = 1 / (1 + np.exp(-np.clip(t + np.float32(UNIT_SHIFT), -30, 30))) / count
    gradient = (row_products(logits, d_logits) * slopes).sum(axis=0)
    # The Jacobian of the committee's logits, centred by the softmax: J' (diag p - p p') J is the sum of its squares.
    probabilities = softmax(combined)
    jacobian = logits * slopes[:, :, None]
    jacobian -= row_products(jacobian, probabilities)[:, :, None]
    jacobian *= np.sqrt(probabilities)[:, None, :]
    flat = jacobian.transpose(1, 0, 2).reshape(count, -1)
    return _Slope(loss, gradient.astype(np.float64), (flat @ flat.T).astype(np.float64) / images)
