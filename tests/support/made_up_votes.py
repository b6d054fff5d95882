"""Made-up committees whose members agree as much as real ones do: shared noise, own noise, own strengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.pipeline.cascade.trace import Combine

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass
class Committee:
    """`logits` `float32[b, n, c]` of each member; together they speak as the mean of logits. `labels` `int64[n]`."""

    logits: Floats
    labels: Integers
    gflops: tuple[float, ...]
    _means: dict[tuple[int, ...], Floats] = field(default_factory=dict)

    @property
    def images(self) -> int:
        return int(self.logits.shape[1])

    @property
    def digests(self) -> list[str]:
        return [f"image-{i}" for i in range(self.images)]

    def combine(self, members: Sequence[int]) -> Floats:
        """What `members` say together, `float32[n, c]`. Remembered: change `logits` before the first call."""
        key = tuple(sorted(members))
        if key not in self._means:
            self._means[key] = np.asarray(self.logits[list(key)].mean(axis=0), dtype=np.float32)
        return self._means[key]

    def sampled(self, rows: Integers) -> Combine:
        """What `combine` says of a sample of the images."""
        return lambda members: self.combine(members)[rows]


def committee(
    images: int,
    strengths: Sequence[float] = (2.0, 3.0, 4.0),
    *,
    classes: int = 4,
    shared: float = 0.6,
    seed: int = 0,
    gflops: Sequence[float] | None = None,
) -> Committee:
    """Member `b` sees the truth at `strengths[b]`, give or take its own taste for each of five kinds of images, through
    noise of which a share `shared` is everyone's. Cost doubles from member to member unless `gflops` is given."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    kinds = rng.integers(0, 5, images)
    difficulty = rng.gamma(2.0, 0.5, images)[:, None]
    common = rng.standard_normal((images, classes))
    members = []
    for strength in strengths:
        taste = rng.normal(0.0, 0.8, 5)[kinds]
        own = rng.standard_normal((images, classes))
        noise = (np.sqrt(shared) * common + np.sqrt(1 - shared) * own) * difficulty
        noise[np.arange(images), labels] += np.maximum(0.0, strength + taste)
        members.append(noise)
    costs = tuple(2.0**b for b in range(len(strengths))) if gflops is None else tuple(gflops)
    return Committee(np.asarray(members, dtype=np.float32), labels, costs)


def specialists(images: int, seed: int = 0, noise: float = 0.2) -> Committee:
    """Backbone 0 is cheap and sees which of two kinds an image is; 1 knows the answers of one kind, 2 of the other.

    On the first kind backbone 0 wavers between two classes, on the second between all four: that much can be seen.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, images)
    second_kind = rng.random(images) < 0.5
    first = np.where(second_kind[:, None], 0.0, np.array([3.0, 3.0, 0.0, 0.0])) + rng.normal(0, noise, (images, 4))
    truth = 9.0 * np.eye(4)[labels]
    second = np.where(second_kind[:, None], 0.0, truth) + rng.normal(0, noise, (images, 4))
    third = np.where(second_kind[:, None], truth, 0.0) + rng.normal(0, noise, (images, 4))
    return Committee(np.asarray([first, second, third], dtype=np.float32), labels, (1.0, 8.0, 8.0))
