"""Linear probes: multinomial logistic regression on frozen features, by L-BFGS (Liu & Nocedal 1989)."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.pipeline.controller.gradient import cross_entropy
from service.pipeline.logits import Floats
from training.evaluate.statistics import Integers

STRENGTHS = (1e-2, 1e-3, 1e-4)
"""Of the pull `strength / 2 * |W|^2`, from the strongest; features are centred and of length 1 in the mean square."""
MOST_STEPS = 40
MEMORY = 8
MOST_HALVINGS = 12
ENOUGH_GRADIENT = 1e-5
SUFFICIENT_DECREASE = 1e-4
HELD_OUT_EVERY = 5

Objective = Callable[[Floats], tuple[float, Floats]]


@dataclass(frozen=True)
class Probe:
    """`weights` float32[c, d], `offsets` float32[c]."""

    weights: Floats
    offsets: Floats

    def logits(self, features: Floats) -> Floats:
        """float32[n, c] from float32[n, d]."""
        return np.asarray(features @ self.weights.T + self.offsets, dtype=np.float32)


def fit_probe(features: Floats, truth: Integers, classes: int) -> Probe:
    """The probe whose strength predicts every `HELD_OUT_EVERY`th image best, fitted on all of them.

    features: float32[n, d]; truth: int64[n]. A caller deals images in random order. Raises `ValueError` for fewer
    images than one fold needs.
    """
    if len(truth) < HELD_OUT_EVERY:
        raise ValueError(f"{len(truth)} images are too few for a probe: at least {HELD_OUT_EVERY} are needed")
    out = np.arange(len(truth)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    losses = []
    for strength in STRENGTHS:
        probe = fit_at(features[~out], truth[~out], classes, strength)
        losses.append(cross_entropy(probe.logits(features[out]), truth[out])[0])
    return fit_at(features, truth, classes, STRENGTHS[int(np.argmin(losses))])


def fit_at(features: Floats, truth: Integers, classes: int, strength: float) -> Probe:
    """The probe at one strength."""
    mean = features.mean(axis=0)
    length = np.sqrt(((features - mean) ** 2).sum(axis=1).mean()) or np.float32(1)
    inputs = np.concatenate([(features - mean) / length, np.ones((len(features), 1), np.float32)], axis=1)
    pull = np.full((classes, inputs.shape[1]), strength, dtype=np.float32)
    pull[:, -1] = 0  # offsets are free

    def objective(theta: Floats) -> tuple[float, Floats]:
        weights = theta.reshape(pull.shape)
        loss, d_logits = cross_entropy(inputs @ weights.T, truth)
        gradient = d_logits.T @ inputs + pull * weights
        return loss + 0.5 * float((pull * weights * weights).sum()), gradient.ravel()

    found = minimise(objective, np.zeros(pull.size, dtype=np.float32)).reshape(pull.shape)
    weights = found[:, :-1] / length
    return Probe(weights, np.asarray(found[:, -1] - weights @ mean, dtype=np.float32))


def minimise(objective: Objective, theta: Floats) -> Floats:
    """Where a convex `objective` (its value and gradient) is least, within `MOST_STEPS` steps of L-BFGS."""
    value, gradient = objective(theta)
    steps: deque[tuple[Floats, Floats]] = deque(maxlen=MEMORY)
    for _ in range(MOST_STEPS):
        if float(np.abs(gradient).max()) < ENOUGH_GRADIENT:
            break
        direction = -_inverse_curvature(gradient, steps)
        slope = float(gradient @ direction)
        size = 1.0 if steps else min(1.0, 1 / float(np.abs(gradient).sum()))
        for halving in range(MOST_HALVINGS):
            candidate = theta + np.float32(size / 2**halving) * direction
            lower, there = objective(candidate)
            if lower <= value + SUFFICIENT_DECREASE * size / 2**halving * slope:
                break
        else:
            break  # single precision sees no further descent
        moved, turned = candidate - theta, there - gradient
        if float(moved @ turned) > 0:
            steps.append((moved, turned))
        theta, value, gradient = candidate, lower, there
    return theta


def _inverse_curvature(gradient: Floats, steps: "deque[tuple[Floats, Floats]]") -> Floats:
    """The two-loop recursion: what the last steps say of the inverse Hessian, times the gradient."""
    found: npt.NDArray[np.float32] = gradient.copy()
    shares = []
    for moved, turned in reversed(steps):
        share = np.float32(moved @ found) / np.float32(moved @ turned)
        found -= share * turned
        shares.append(share)
    if steps:
        moved, turned = steps[-1]
        found *= np.float32(moved @ turned) / np.float32(turned @ turned)
    for (moved, turned), share in zip(steps, reversed(shares), strict=True):
        found += (share - np.float32(turned @ found) / np.float32(moved @ turned)) * moved
    return found
