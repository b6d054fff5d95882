"""What each backbone thinks of a label set for an image: what a generic controller reads instead of the image.

The image alone cannot know the label set. How sure a backbone is, and whether the others agree, can be seen for any
label set and any zoo, and all of it lies in 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.pipeline.logits import Floats, softmax

OWN: Final = 3
OPINIONS: Final = 2 * (OWN + 1)
"""Of one backbone: top probability, margin over the second, entropy as a share of the greatest possible, agreement (the
probability that the others give on average to its top label); then the mean of these four over the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Opinions:
    """`own` is `float32[n, b, OWN]`; `given` is `float32[n, b, b]`, the probability that the second backbone gives to
    the first one's top label, 0 on the diagonal."""

    own: Floats
    given: Floats

    def take(self, rows: NDArray[np.int64]) -> Opinions:
        return Opinions(self.own[rows], self.given[rows])

    def of_all(self) -> Floats:
        """`float32[n, b, OPINIONS]` where every backbone answered."""
        return self.of(np.ones(self.own.shape[:2], dtype=np.float32))

    def of(self, present: Floats) -> Floats:
        """`float32[n, b, OPINIONS]` among the backbones that answered: `present float32[n, b]` of ones and zeros.

        Rows of absent backbones mean nothing. One alone agrees with itself and counts as its own company.
        """
        others = present.sum(axis=1)[:, None, None] - 1
        alone = others <= 0
        divisor = np.maximum(others, 1)
        agreement = np.where(alone, 1, np.matmul(self.given, present[:, :, None]) / divisor)
        four = np.concatenate([self.own, agreement], axis=2) * present[:, :, None]
        company = np.where(alone, four, (four.sum(axis=1, keepdims=True) - four) / divisor)
        return np.asarray(np.concatenate([four, company], axis=2), dtype=np.float32)


def opinions_of(logits: Floats) -> Opinions:
    """From the backbones' own logits, `float32[b, n, c]`."""
    probabilities = softmax(logits).transpose(1, 0, 2)
    images, count, _ = probabilities.shape
    tops = probabilities.argmax(axis=2)
    given = np.empty((images, count, count), dtype=np.float32)
    for place in range(count):
        given[:, place, :] = np.take_along_axis(probabilities, tops[:, place, None, None], axis=2)[:, :, 0]
        given[:, place, place] = 0
    return Opinions(_own(probabilities), given)


def _own(probabilities: Floats) -> Floats:
    """`float32[n, b, OWN]` from `float32[n, b, c]`."""
    classes = probabilities.shape[2]
    if classes == 1:
        certain = np.array([1, 1, 0], dtype=np.float32)
        return np.broadcast_to(certain, (*probabilities.shape[:2], OWN))
    second, top = np.moveaxis(np.partition(probabilities, classes - 2, axis=2)[:, :, -2:], 2, 0)
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    entropy = -(probabilities * logs).sum(axis=2) / math.log(classes)
    return np.asarray(np.stack([top, top - second, entropy], axis=2), dtype=np.float32)
