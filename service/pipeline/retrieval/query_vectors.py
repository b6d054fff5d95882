"""A weighted committee as one query vector: pure functions on arrays.

A gallery keeps, per item, its backbones' unit embeddings side by side, `x = concat_b(x_b)`. A query whose backbones
weigh `w_b` (positive, of sum 1) becomes `q = concat_b(w_b e_b)`, and one inner product `q x = sum_b w_b cos_b` is the
weighted committee's score: a search for the largest inner products is a search by the committee.

Axes: `b` backbones, `n` queries, `h` hits, `d` widths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.pipeline.logits import Floats, softmax

CANDIDATES: Final = 64
"""Hits among which a cascade asks how far the best one stands out; thresholds are chosen with as many."""


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """What backbones say of one thing that is looked for, in one order: unit `embeddings` `float32[d]` each, `opinions`
    `a_b` `float32[b]` of a controller (1: the plain mean) and `scales` `s_b`, logit scale over temperature."""

    names: tuple[str, ...]
    embeddings: tuple[Floats, ...]
    opinions: Floats
    scales: Floats

    @property
    def weights(self) -> Floats:
        """`w_b = a_b s_b / sum_b a_b s_b`, `float32[b]`: the shares of committee logits, made to sum to 1."""
        return shares(self.opinions, self.scales)

    @property
    def sharpness(self) -> float:
        """What a score is multiplied by to be the committee's logit, `(1/|S|) sum_b a_b s_b cos_b`."""
        return float((self.opinions * self.scales).mean())


@dataclass(frozen=True, slots=True, eq=False)
class QueryVector:
    """`vector` `float32[sum of widths]`; `weights` by name, of sum 1; `sharpness` as in `Voices`."""

    vector: Floats
    weights: Mapping[str, float]
    sharpness: float


def shares(opinions: Floats, scales: Floats) -> Floats:
    """`a_b s_b / sum_b a_b s_b` along the first axis: `float32[b, ...]` from `float32[b, ...]` and `float32[b]`."""
    scaled = opinions * scales.reshape(-1, *[1] * (opinions.ndim - 1))
    return np.asarray(scaled / scaled.sum(axis=0), dtype=np.float32)


def fold(parts: Sequence[tuple[float, Voices]], places: Mapping[str, slice]) -> QueryVector:
    """The query vector of a weighted mix of things, each in the voices of those who know it; one thing is a mix of one.

    `places` says where a backbone's part lies in the vector; who is not in it is left out. Each thing counts by its
    weight's share of all weights (their absolute values: a negative one leads away).
    """
    total = sum(abs(weight) for weight, _ in parts)
    vector = np.zeros(max(place.stop for place in places.values()), dtype=np.float32)
    weights = dict.fromkeys(places, 0.0)
    sharpness = 0.0
    for weight, voices in parts:
        part = weight / total
        sharpness += abs(part) * voices.sharpness
        for name, embedding, share in zip(voices.names, voices.embeddings, voices.weights.tolist(), strict=True):
            vector[places[name]] += np.float32(part * share) * embedding
            weights[name] += abs(part) * share
    return QueryVector(vector, weights, sharpness)


def scores_by_backbone(query: QueryVector, item: Floats, places: Mapping[str, slice]) -> dict[str, float]:
    """What the score of an item `float32[d]` is made of: `score = sum_b weight_b score_b` over those of any weight. For
    one thing, not a mix, `score_b` is the backbone's cosine."""
    return {
        name: float(query.vector[places[name]] @ item[places[name]]) / weight
        for name, weight in query.weights.items()
        if weight > 0
    }


def confidence(scores: Sequence[float], sharpness: float) -> float:
    """The softmax probability of the best hit among the best `CANDIDATES`; `scores` are in descending order.

    0 without hits: nothing was found to be sure of.
    """
    if not scores:
        return 0.0
    logits = np.asarray(scores[:CANDIDATES], dtype=np.float32) * np.float32(sharpness)
    return float(softmax(logits)[0])


def packed(places: Mapping[str, slice], names: Sequence[str]) -> dict[str, slice]:
    """Where the parts of `names` lie when they alone are put side by side, in their own order."""
    widths = [places[name].stop - places[name].start for name in names]
    ends = np.cumsum(widths).tolist()
    return {name: slice(end - width, end) for name, width, end in zip(names, widths, ends, strict=True)}
