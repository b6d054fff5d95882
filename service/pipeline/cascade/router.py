"""Which backbone one image asks next, from what those asked so far saw.

A router is a table: for every set of backbones that may have answered, a linear estimate, per backbone not yet asked,
of what the image will still cost if that one comes next (GFLOPs, wrong answers priced in). The least wins. Sets are bit
masks (bit `b` for backbone `b`), so any set is an index: a subset, a failure and a partial budget have their own row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

PLAIN_FEATURES = 4


def mask_of(members: Iterable[int]) -> int:
    """The set of `members` as a bit mask."""
    mask = 0
    for member in members:
        mask |= 1 << member
    return mask


def members_of(mask: int) -> tuple[int, ...]:
    """The backbones in a bit mask, ascending."""
    return tuple(member for member in range(mask.bit_length()) if mask >> member & 1)


@dataclass(frozen=True, slots=True, eq=False)
class Router:
    """`weights`: `float32[2**b, b, 4 + b]`, what asking a backbone (axis 1) next would cost once the set of axis 0 has
    answered; its own members' rows are never read. `temperatures`: `float64[2**b]`, of the answer that each set gives.
    `first` is asked before anything is seen.
    """

    first: int
    weights: Floats
    temperatures: Doubles

    def __post_init__(self) -> None:
        b = self.weights.shape[1] if self.weights.ndim == 3 else 0
        if self.weights.shape != (2**b, b, PLAIN_FEATURES + b) or self.temperatures.shape != (2**b,):
            raise ValueError(
                f"a router's weights are float32[2**b, b, {PLAIN_FEATURES} + b] and its temperatures float64[2**b], "
                f"not {self.weights.shape} and {self.temperatures.shape}"
            )
        if not 0 <= self.first < b:
            raise ValueError(f"the first of {b} backbones cannot be {self.first}")
        # Temperature 0 belongs to the empty set, which answers nothing.
        if not (np.isfinite(self.weights).all() and (self.temperatures[1:] > 0).all()):
            raise ValueError("a router's weights are finite and its temperatures positive")

    def next_members(self, mask: int, features: Doubles, candidates: Iterable[int]) -> Integers:
        """Whom to ask next, `int64[n]` out of `candidates`, when `mask` has answered; `features`: `float64[n, 4 + b]`.

        Ties go to the lowest number.
        """
        choices = np.array(sorted(candidates), dtype=np.int64)
        # Not `@`: its rounding depends on the number of rows, and a batch must choose as one image does.
        estimates = (features[:, None, :] * self.weights[mask, choices].astype(np.float64)).sum(axis=-1)
        return np.asarray(choices[estimates.argmin(axis=1)], dtype=np.int64)


def route_features(probabilities: Doubles, own_tops: Integers) -> Doubles:
    """What a router reads, `float64[n, 4 + b]`: one, the two largest probabilities, entropy per class, agreement.

    `probabilities`: `float64[n, c]` of the combined answer. `own_tops`: `int64[n, b]`, each backbone's own top label,
    -1 where it has not answered. Agreement is 1 where a backbone's own top label is the combined one, else 0.
    """
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    features = np.empty((len(probabilities), PLAIN_FEATURES + own_tops.shape[1]))
    features[:, 0] = 1.0
    features[:, 1:3] = top_two(probabilities)
    features[:, 3] = -(probabilities * logs).sum(axis=1) / max(1.0, math.log(probabilities.shape[1]))
    features[:, 4:] = own_tops == probabilities.argmax(axis=1)[:, None]
    return features


def top_two(probabilities: Doubles) -> Doubles:
    """`float64[n, 2]`, the largest and the second largest; the second of a single class is 0."""
    if probabilities.shape[1] == 1:
        return np.asarray(np.pad(probabilities, ((0, 0), (0, 1))), dtype=np.float64)
    return np.asarray(np.partition(probabilities, -2, axis=1)[:, [-1, -2]], dtype=np.float64)
