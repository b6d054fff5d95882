"""Scores with bootstrap intervals. Every score is a weighted mean over items, every resample another set of weights."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 1000
LOW, HIGH = 0.025, 0.975

Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Values = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Score:
    """A share in 0..1 (or a difference of two) with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resamples:
    """Weights of n items, every row summing to one: `point` float64[n] of the sample itself, `draws` float64[draws, n]
    of samples drawn from it with replacement."""

    point: Floats
    draws: Floats

    def score(self, values: Values) -> Score:
        """The mean of `values` (booleans or numbers, [n]) with its percentile interval.

        Where all are wrong, or all right, resampling finds no spread; the exact binomial interval takes its place, for
        as many items as the weights are worth.
        """
        found = interval(self.value(values), self.drawn(values))
        reach = float(LOW ** (self.point @ self.point))
        if not values.any():
            return Score(0.0, 0.0, 1 - reach)
        return Score(1.0, reach, 1.0) if (values == 1).all() else found

    def value(self, values: Values) -> float:
        """The mean of `values`, [n]."""
        return float(self.point @ values.astype(np.float64))

    def drawn(self, values: Values) -> Floats:
        """float64[draws], the mean of `values`, [n], in every resample."""
        return np.asarray(self.draws @ values.astype(np.float64))

    def spread(self, owner: Integers) -> "Resamples":
        """The same resamples for things that belong to the items: each item's weight is shared among its own.

        owner: int64[m], the item that each thing belongs to. The captions of one picture are drawn together.
        """
        shares = 1 / np.bincount(owner)[owner]
        return Resamples(self.point[owner] * shares, self.draws[:, owner] * shares)


def interval(value: float, drawn: Floats) -> Score:
    """`value` between the percentiles of `drawn`, float64[draws]."""
    low, high = np.quantile(drawn, [LOW, HIGH])
    return Score(value, float(low), float(high))


def class_weights(truth: Integers) -> Floats:
    """float64[n], summing to one, every class alike: their weighted mean is the balanced accuracy. truth: int64[n]."""
    counts = np.bincount(truth)
    return np.asarray(1 / counts[truth] / np.count_nonzero(counts))


def item_weights(counts: npt.NDArray[np.generic], base: Floats) -> Floats:
    """float64[..., n], rows that sum to one: how often each item was drawn, counts [..., n], times its weight in the
    whole sample, `base` float64[n].

    A class of one item is in or out of a resample with all of its weight. Sharing the weight anew among the classes
    that were drawn would favour whoever always names the same class.
    """
    weights = counts.astype(np.float64) * base
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def resamples(n: int, truth: Integers | None = None, *, name: str = "", draws: int = DRAWS) -> Resamples:
    """Bootstrap weights of `n` items; balanced over classes where `truth`, int64[n], is given.

    The drawing depends on `name` and `n` alone, so that all that is said of one task is said of the same resamples, and
    other tasks have resamples of their own.
    """
    rng = generator(name)
    counts = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(draws)])
    base = np.full(n, 1 / n) if truth is None else class_weights(truth)
    return Resamples(base, item_weights(counts, base))


def generator(name: str) -> np.random.Generator:
    """Random numbers that belong to a name."""
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))


def hits_at_k(scores: npt.NDArray[np.float32], owner: Integers, k: int) -> Booleans:
    """bool[queries]: whether a query's own item is among its k best. scores: float32[queries, items].

    Ties count against the query: an index that maps everything to one point finds nothing.
    """
    own = scores[np.arange(len(owner)), owner]
    return np.asarray((scores >= own[:, None]).sum(axis=1) <= k)


def any_hits_at_k(scores: npt.NDArray[np.float32], owner: Integers, k: int) -> Booleans:
    """bool[queries]: whether any of a query's own items is among its k best, as `hits_at_k`.

    scores: float32[queries, items]; owner: int64[items], the query that each item belongs to.
    """
    own = owner[None, :] == np.arange(len(scores))[:, None]
    best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
    return np.asarray(((scores >= best) & ~own).sum(axis=1) < k)


def best_k(scores: npt.NDArray[np.float32], k: int) -> Booleans:
    """bool[queries, items]: the k best items of every query (fewer where the last place is shared)."""
    if k >= scores.shape[1]:
        return np.ones(scores.shape, dtype=np.bool_)
    next_best = -np.partition(-scores, k, axis=1)[:, k : k + 1]
    return np.asarray(scores > next_best)
