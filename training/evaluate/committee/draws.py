"""Shots: which labelled pictures of a task a method may learn from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluate.statistics import generator

SHOTS = (1, 2, 4, 8, 16)
LEAST_SHARE = 0.5
"""A draw is used where it has at least this share of the pictures that `shots` of every class would be."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """`positions`: int64[m], ascending, of what was drawn; `shots` of every class, or all that a class has."""

    shots: int
    classes: int
    positions: Integers
    without: int
    """Classes of which there is no picture at all."""

    @property
    def per_class(self) -> float:
        return len(self.positions) / self.classes

    @property
    def usable(self) -> bool:
        return self.per_class >= LEAST_SHARE * self.shots


def draw(name: str, truth: Integers, classes: int, shots: int, seed: int) -> Draw:
    """`shots` pictures of every class out of `truth`, int64[n]; fewer where a class has no more.

    Who is drawn depends on `name` and `seed` alone, and fewer shots are a part of more: a curve over shots is then of
    growing sets and not of different ones.
    """
    order = generator(f"shots of {name}, {seed}").permutation(len(truth))
    chosen = [order[truth[order] == label][:shots] for label in range(classes)]
    positions = np.sort(np.concatenate(chosen)).astype(np.int64)
    return Draw(shots, classes, positions, sum(not len(each) for each in chosen))
