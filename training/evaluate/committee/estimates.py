"""Means with standard errors, over images and seeds within a task and over tasks.

Units of work keep these two numbers where thousands of answers would have to be kept for a bootstrap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluate.committee.pools import TaskPools
from training.evaluate.statistics import Floats, class_weights

NORMAL_95 = 1.96


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error; `low` and `high` are the ends of the normal 95 % interval."""

    value: float
    error: float

    @property
    def low(self) -> float:
        return self.value - NORMAL_95 * self.error

    @property
    def high(self) -> float:
        return self.value + NORMAL_95 * self.error


def image_weights(task: TaskPools) -> Floats:
    """float64[n], summing to one: under which the test images' mean is plain or, where needed, balanced accuracy."""
    truth = task.test.truth
    return np.full(len(truth), 1 / len(truth)) if task.balanced else class_weights(truth)


def estimate(values: npt.NDArray[np.generic], weights: Floats) -> Estimate:
    """Of booleans or numbers [seeds, n] under weights float64[n] that sum to one.

    The variance is that over images of the seeds' mean plus that over seeds, which counts a little twice.
    """
    each = values.astype(np.float64)
    by_seed = each @ weights
    value = float(by_seed.mean())
    variance = float(weights**2 @ (each.mean(axis=0) - value) ** 2)
    if len(by_seed) > 1:
        variance += float(by_seed.var(ddof=1)) / len(by_seed)
    return Estimate(value, math.sqrt(variance))


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over tasks, which count alike and are independent. Raises `ValueError` without any."""
    if not estimates:
        raise ValueError("a mean over tasks needs at least one task")
    error = math.sqrt(sum(each.error**2 for each in estimates)) / len(estimates)
    return Estimate(float(np.mean([each.value for each in estimates])), error)


def shown(found: Estimate) -> str:
    """A share in percent with its interval."""
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def shown_difference(found: Estimate) -> str:
    """A difference of shares in points, signed; bold where its interval leaves 0 out."""
    text = f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"**{text}**" if found.low > 0 or found.high < 0 else text
