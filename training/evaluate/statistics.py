"""Scores with bootstrap intervals."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 1000
Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """A share in 0..1 with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


def accuracy(correct: npt.NDArray[np.generic]) -> float:
    """Share of correct answers; `correct`: bool[n] or scores in 0..1."""
    return float(correct.mean())


def balanced_accuracy(correct: Booleans, truth: Integers) -> float:
    """Mean over the classes present in `truth` of the share of their images answered correctly."""
    counts = np.bincount(truth)
    hits = np.bincount(truth, weights=correct)
    present = counts > 0
    return float((hits[present] / counts[present]).mean())


def bootstrap(correct: npt.NDArray[np.generic], truth: Integers | None = None, *, seed: int = 0) -> Score:
    """Accuracy, or balanced accuracy where `truth` is given, with the percentile interval over resampled items."""

    def score(index: Integers | slice) -> float:
        if truth is None:
            return accuracy(correct[index])
        return balanced_accuracy(correct[index].astype(np.bool_), truth[index])

    rng = np.random.default_rng(seed)
    draws = [score(rng.integers(0, len(correct), len(correct))) for _ in range(DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Score(score(slice(None)), float(low), float(high))


def hits_at_k(scores: npt.NDArray[np.float32], owner: Integers, k: int) -> Booleans:
    """bool[queries]: whether a query's own item is among its k best. scores: float32[queries, items].

    Ties count against the query: an index that maps everything to one point finds nothing.
    """
    own = scores[np.arange(len(owner)), owner]
    return np.asarray((scores >= own[:, None]).sum(axis=1) <= k)
