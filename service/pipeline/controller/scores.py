"""How well answers predict held-out labels, whatever their temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.pipeline.controller.gradient import Integers
from service.pipeline.logits import Floats

TEMPERATURES: Final = tuple(2.0 ** (half / 2) for half in range(-8, 17))
"""1/16 to 256 in half octaves: between two of them the loss is close to a parabola in the logarithm. Answers about
nonsense are best when flat; with a lower end a fit that merely flattens would seem to have learnt something."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """`losses` `float32[n, len(TEMPERATURES)]` in nats, `correct` `bool[n]`: what was right at the first place."""

    losses: Floats
    correct: NDArray[np.bool_]

    def take(self, rows: NDArray[np.generic]) -> Scores:
        return Scores(self.losses[rows], self.correct[rows])

    @property
    def accuracy(self) -> float:
        return float(self.correct.mean())

    @property
    def loss(self) -> float:
        """Mean negative log likelihood in nats at the best single temperature."""
        curve = self.losses.mean(axis=0, dtype=np.float64)
        best = int(curve.argmin())
        if best in (0, len(curve) - 1):
            return float(curve[best])
        left, middle, right = curve[best - 1 : best + 2]
        bend = left - 2 * middle + right
        return float(middle - (left - right) ** 2 / (8 * bend)) if bend > 0 else float(middle)


def score(logits: Floats, truth: Integers) -> Scores:
    """Scores of answers `float32[n, c]` (logits, or logarithms of probabilities) against labels `int64[n]`."""
    rows = np.arange(len(truth))
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.empty((len(truth), len(TEMPERATURES)), dtype=np.float32)
    for column, temperature in enumerate(TEMPERATURES):
        scaled = shifted / np.float32(temperature)
        losses[:, column] = np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, truth]
    return Scores(losses, logits.argmax(axis=1) == truth)


def joined(parts: Sequence[Scores]) -> Scores:
    """Scores of several groups of examples as those of one."""
    return Scores(np.concatenate([part.losses for part in parts]), np.concatenate([part.correct for part in parts]))
