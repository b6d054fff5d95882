"""Who is right where the others are wrong, and how much of that luck alone would give.

Axes: b members, n items. `correct`: bool[b, n]. Two controls stand beside every share, both as exact expectations over
all shuffles rather than as the mean of a few:

- shuffled answers: a member's answers are dealt anew to the items of the task. It then knows nothing of the item and
  still answers each class as often as before; what it adds to the others is luck.
- independent errors: which of the items (of one class) a member gets right is dealt anew. These are members of the same
  skill whose mistakes have nothing to do with each other; members that learned the same stay below it.
"""

import numpy as np

from training.evaluate.statistics import Booleans, Floats, Integers

# Classes with fewer items are dealt among each other: a class of one item would only be dealt its own result again.
SMALLEST_GROUP = 5


def oracle(correct: Booleans) -> Booleans:
    """bool[n]: whether any member is right."""
    return np.asarray(correct.any(axis=0))


def alone(correct: Booleans) -> Booleans:
    """bool[b, n]: whether a member is right and nobody else."""
    return np.asarray(correct & (correct.sum(axis=0) == 1))


def luck(predicted: Integers, truth: Integers) -> Floats:
    """float64[b, n]: how likely each member is right about an item when its answers are shuffled.

    predicted: int64[b, n], truth: int64[n], both positions of classes.
    """
    classes = int(max(predicted.max(), truth.max())) + 1
    frequency = np.stack([np.bincount(row, minlength=classes) for row in predicted]) / len(truth)
    return np.asarray(frequency[:, truth])


def retrieval_luck(listed: Booleans) -> Floats:
    """float64[n]: how likely a query finds its own item when the answers of all queries are shuffled.

    listed: bool[n, n], whether the answer to query i holds the item of query j.
    """
    return np.asarray(listed.mean(axis=0, dtype=np.float64))


def alone_by_luck(correct: Booleans, lucky: Floats) -> Floats:
    """float64[b, n]: how likely a member is alone right when its own answers are shuffled; lucky: float64[b, n]."""
    others_wrong = correct.sum(axis=0) - correct == 0
    return np.asarray(lucky * others_wrong)


def all_but(kept: int, correct: Booleans, lucky: Floats) -> Floats:
    """float64[b, n]: how likely each member is right when the answers of all but the member `kept` are shuffled."""
    likely = lucky.copy()
    likely[kept] = correct[kept]
    return likely


def deal_groups(truth: Integers) -> Integers:
    """int64[n]: the groups within which results are dealt anew, one per class and one for all small classes."""
    groups = truth + 1
    return np.asarray(np.where(np.bincount(groups)[groups] < SMALLEST_GROUP, 0, groups))


def independent(correct: Booleans, groups: Integers) -> Floats:
    """float64[b, n]: how likely each member is right about an item when its results are dealt anew within groups."""
    sizes = np.maximum(np.bincount(groups), 1)
    return np.stack([(np.bincount(groups, weights=row) / sizes)[groups] for row in correct])


def oracle_if_independent(likely: Floats) -> Floats:
    """float64[n]: how likely anybody is right when members are right with chances float64[b, n] of their own."""
    return np.asarray(1 - (1 - likely).prod(axis=0))


def alone_if_independent(likely: Floats) -> Floats:
    """float64[b, n]: how likely a member is alone right when members are right with chances float64[b, n]."""
    rows = [np.delete(1 - likely, b, axis=0).prod(axis=0) for b in range(len(likely))]
    return np.asarray(likely * np.stack(rows))


def one_right(correct: Booleans, weights: Floats) -> Floats:
    """float64[b, b]: share of items where exactly one of a pair is right. weights: float64[n], summing to one."""
    return _pairs(correct.astype(np.int64), weights)


def answers_differ(predicted: Integers, weights: Floats) -> Floats:
    """float64[b, b]: share of items where the answers of a pair differ. predicted: int64[b, n]."""
    return _pairs(predicted, weights)


def _pairs(rows: Integers, weights: Floats) -> Floats:
    return np.stack([(row != rows) @ weights for row in rows])
