"""Stacking: multinomial logistic regression on all backbones' logits side by side (Wolpert 1992).

With the penalty that scikit-learn's `LogisticRegression` has by default (C = 1) on inputs of unit variance. Inputs and
outputs are as many as backbones times classes and as classes, so few shots carry it badly: that is the finding.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.pipeline.controller.gradient import Integers, cross_entropy
from service.pipeline.logits import Floats

Loss = Callable[[Floats], tuple[float, Floats]]

MOST_STEPS = 60
REMEMBERED = 8
MOST_HALVINGS = 20
ENOUGH = 1e-5
SUFFICIENT = 1e-4


@dataclass(frozen=True, eq=False)
class Stacking:
    """`weights`: float32[b * c, c]; `bias`: float32[c]; `scale`: what centred logits are multiplied by."""

    weights: Floats
    bias: Floats
    scale: float

    def scores(self, logits: Floats) -> Floats:
        """float32[n, c] from the backbones' logits float32[n, b, c]."""
        return np.asarray(stacked(logits) * np.float32(self.scale) @ self.weights + self.bias, dtype=np.float32)


def stacked(logits: Floats) -> Floats:
    """float32[n, b * c], each backbone's logits around their mean: what all classes share says nothing."""
    centred = logits - logits.mean(axis=2, keepdims=True)
    return np.asarray(centred.reshape(len(logits), -1), dtype=np.float32)


def fit_stacking(logits: Floats, truth: Integers, *, c: float = 1.0) -> Stacking:
    """Minimises the summed cross-entropy plus `|weights|^2 / (2 c)`; logits: float32[m, b, c]; truth: int64[m]."""
    inputs = stacked(logits)
    scale = 1 / max(float(inputs.std()), 1e-6)
    inputs = inputs * np.float32(scale)
    classes = logits.shape[2]
    strength = np.float32(1 / (c * len(truth)))

    def loss(theta: Floats) -> tuple[float, Floats]:
        weights, bias = theta[:-classes].reshape(-1, classes), theta[-classes:]
        value, d_logits = cross_entropy(inputs @ weights + bias, truth)
        d_weights = inputs.T @ d_logits + strength * weights
        penalty = float(strength) / 2 * float((weights.astype(np.float64) ** 2).sum())
        return value + penalty, np.concatenate([d_weights.ravel(), d_logits.sum(axis=0)])

    theta = minimise(loss, np.zeros((inputs.shape[1] + 1) * classes, dtype=np.float32))
    return Stacking(theta[:-classes].reshape(-1, classes), theta[-classes:], scale)


def minimise(loss: Loss, theta: Floats, *, most_steps: int = MOST_STEPS) -> Floats:
    """L-BFGS (Nocedal & Wright, algorithm 7.4) with halved steps until the loss falls enough (Armijo)."""
    value, gradient = loss(theta)
    memory: deque[tuple[Floats, Floats]] = deque(maxlen=REMEMBERED)
    for _ in range(most_steps):
        direction = -_times_inverse_curvature(gradient, memory)
        slope = float(gradient @ direction)
        size = 1.0 if memory else 1 / max(1e-12, float(np.linalg.norm(gradient)))
        for _ in range(MOST_HALVINGS):
            moved = (theta + np.float32(size) * direction).astype(np.float32)
            there, steeper = loss(moved)
            if there <= value + SUFFICIENT * size * slope:
                break
            size /= 2
        else:
            return theta
        step, change = moved - theta, steeper - gradient
        # Only pairs of positive curvature keep the directions downhill.
        if float(step @ change) > 1e-10:
            memory.append((step, change))
        gained = value - there
        theta, value, gradient = moved, there, steeper
        if gained < ENOUGH * max(1.0, abs(value)):
            break
    return theta


def _times_inverse_curvature(gradient: Floats, memory: "deque[tuple[Floats, Floats]]") -> npt.NDArray[np.float32]:
    """The two-loop recursion."""
    found = gradient.copy()
    factors = []
    for step, change in reversed(memory):
        factor = float(step @ found) / float(step @ change)
        found -= np.float32(factor) * change
        factors.append(factor)
    if memory:
        step, change = memory[-1]
        found *= np.float32(float(step @ change) / float(change @ change))
    for (step, change), factor in zip(memory, reversed(factors), strict=True):
        found += np.float32(factor - float(change @ found) / float(step @ change)) * step
    return found
