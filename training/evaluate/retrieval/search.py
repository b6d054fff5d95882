"""Exact search by weighed committees, in blocks of the gallery: where queries find their own, and how sure they are.

The weights, the vectors and the confidence are those of `service.pipeline.retrieval.query_vectors`, for many queries
at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.pipeline.controller.controller import Controller, weigh
from service.pipeline.logits import Floats, softmax
from service.pipeline.retrieval.query_vectors import CANDIDATES, Voices, fold, packed, shares
from training.evaluate.retrieval.pairs import Integers, SearchTask

Block = Sequence[Floats]
"""Items of a gallery that answer no query: per backbone float32[block, d]."""


@dataclass(frozen=True, eq=False)
class Searched:
    """`ranks` int64[n]: how many items of others came at least as near as a query's own best one, so that it is among
    the k best where its rank is below k and ties count against it. `confidence` float32[n]: the softmax probability of
    the best hit among the best `CANDIDATES`."""

    ranks: Integers
    confidence: Floats

    def hits(self, k: int) -> npt.NDArray[np.bool_]:
        """bool[n]: whether a query's own item is among its k best."""
        return self.ranks < k


def opinions_of(controller: Controller, task: SearchTask, names: Sequence[str]) -> Floats:
    """`a_b` float32[b, n] of the backbones `names` for every query."""
    embeddings = [task.queries[task.names.index(name)] for name in names]
    return weigh(controller, names, embeddings, np.zeros((len(names), len(task.asking), 1), dtype=np.float32))


def alike(task: SearchTask, names: Sequence[str]) -> Floats:
    """float32[b, n] of ones: nobody is preferred, and the committee is the mean of logits."""
    return np.ones((len(names), len(task.asking)), dtype=np.float32)


def search(task: SearchTask, names: Sequence[str], opinions: Floats, others: Iterable[Block] = ()) -> Searched:
    """Every query of `task` under the committee of `names` with `opinions` `a_b`, float32[b, n].

    The gallery is the task's own items and the blocks of `others`, whose parts are in the order of `task.names`.
    """
    places = [task.names.index(name) for name in names]
    scales = task.scales[places]
    queries = folded(shares(opinions, scales), [task.queries[place] for place in places])
    scores = queries @ side_by_side([task.items[place] for place in places]).T
    own = task.owner[None, :] == task.asking[:, None]
    best_own = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
    ranks = ((scores >= best_own) & ~own).sum(axis=1)
    best = _largest(scores)
    for block in others:
        scores = queries @ side_by_side([block[place] for place in places]).T
        ranks += (scores >= best_own).sum(axis=1)
        best = _largest(np.concatenate([best, _largest(scores)], axis=1))
    sharpness = (opinions * scales[:, None]).mean(axis=0)
    return Searched(ranks, confidences(best, sharpness))


def folded(weights: Floats, embeddings: Sequence[Floats]) -> Floats:
    """float32[n, sum of widths], `concat_b(w_b e_b)` from weights float32[b, n]."""
    return side_by_side([own[:, None] * rows for own, rows in zip(weights, embeddings, strict=True)])


def side_by_side(parts: Sequence[Floats]) -> Floats:
    """float32[n, sum of widths]."""
    return np.concatenate(parts, axis=1)


def confidences(best: Floats, sharpness: Floats) -> Floats:
    """float32[n] from the best scores of every query, float32[n, at most CANDIDATES], and its sharpness float32[n]."""
    return np.asarray(softmax(best * sharpness[:, None]).max(axis=1))


def _largest(scores: Floats) -> Floats:
    """float32[n, at most CANDIDATES], in no order."""
    count = scores.shape[1]
    return scores if count <= CANDIDATES else np.partition(scores, count - CANDIDATES, axis=1)[:, -CANDIDATES:]


def folding_error(task: SearchTask, opinions: Floats) -> float:
    """The largest difference over all queries and items between the gateway's folded query, one inner product, and the
    weighted sum of cosines, made in float64 from the same weights."""
    widths = [rows.shape[1] for rows in task.items]
    ends = np.cumsum(widths).tolist()
    parts = {name: slice(end - width, end) for name, width, end in zip(task.names, widths, ends, strict=True)}
    places, items = packed(parts, task.names), side_by_side(task.items)
    vectors = np.stack(
        [fold([(1.0, _voices(task, opinions, query))], places).vector for query in range(len(task.asking))]
    )
    scaled = opinions.astype(np.float64) * task.scales[:, None]
    weights = scaled / scaled.sum(axis=0)
    sums = sum(
        own[:, None] * (queries.astype(np.float64) @ rows.astype(np.float64).T)
        for own, queries, rows in zip(weights, task.queries, task.items, strict=True)
    )
    return float(np.abs(vectors @ items.T - sums).max())


def _voices(task: SearchTask, opinions: Floats, query: int) -> Voices:
    embeddings = tuple(rows[query] for rows in task.queries)
    return Voices(task.names, embeddings, opinions[:, query], task.scales)
