"""The plain baseline of a search: one numpy product over all vectors and a partition, in this process."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from loadtest.scenarios.gallery_data import Floats, Mask

GATHER_BELOW = 0.1
"""Share of items up to which copying the matching ones together is quicker than comparing all and hiding the rest."""
FEWEST_CALLS = 3


def plain_search(items: Floats, queries: Floats, top: int, matching: Mask | None = None) -> NDArray[np.int64]:
    """int64[q, top]: for each of `queries` float32[q, d] the items float32[n, d] of the largest products, best first.

    `top` is at most n, and at most as many as are `matching` (bool[n]).
    """
    if matching is not None and matching.mean() <= GATHER_BELOW:
        (kept,) = np.nonzero(matching)
        return np.asarray(kept[plain_search(items[kept], queries, top)])
    scores = (items @ queries[0])[None] if len(queries) == 1 else queries @ items.T
    if matching is not None:
        scores[:, ~matching] = -np.inf
    best = np.argpartition(scores, -top, axis=1)[:, -top:]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def plain_call_s(
    items: Floats, queries: Floats, per_call: int, top: int, matching: Mask | None, threads: int, duration_s: float
) -> list[float]:
    """Seconds of each call of `per_call` queries, back to back for `duration_s` seconds, by `threads` BLAS threads."""
    times_s: list[float] = []
    top = min(top, len(items) if matching is None else int(matching.sum()))
    turns = len(queries) // per_call
    with threadpool_limits(limits=threads, user_api="blas"):
        plain_search(items, queries[:per_call], top, matching)
        while len(times_s) < FEWEST_CALLS or sum(times_s) < duration_s:
            start = len(times_s) % turns * per_call
            started_s = time.perf_counter()
            plain_search(items, queries[start : start + per_call], top, matching)
            times_s.append(time.perf_counter() - started_s)
    return times_s
