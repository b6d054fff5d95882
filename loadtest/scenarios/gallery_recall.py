"""What a search returns against what it should: every item's product with the query, computed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from loadtest.gateway import Gateway, GatewayError
from loadtest.scenarios.bench import Run
from loadtest.scenarios.gallery_calls import ask
from loadtest.scenarios.gallery_data import Floats, Mask, Vectors, item_of
from loadtest.scenarios.gallery_payload import encoded, search
from loadtest.scenarios.gallery_search import TOP, SearchCase

AIM = 0.99
PER_CALL = 64
TIE = 1e-5
"""Scores this close are equal: float32 products of a thousand numbers, added up in another order."""


def recall(gateway: Gateway, gallery: str, vectors: Vectors, cases: Sequence[SearchCase]) -> Iterator[Run]:
    """Per case the mean recall at 10 and at 1 over all queries; each query's weights are those of the answer."""
    for case in cases:
        matching = vectors.below(case.percent)
        at_top, at_1, off = [], [], 0.0
        for start in range(0, len(vectors.queries), PER_CALL):
            asked = vectors.queries[start : start + PER_CALL]
            results = _results(gateway, gallery, asked, case)
            pairs = zip(asked, results, strict=True)
            folded = np.stack([weighted(query, result["weights"], vectors.places) for query, result in pairs])
            for exact, result in zip(folded @ vectors.items.T, results, strict=True):
                found = [item_of(hit["id"]) for hit in result["hits"]]
                at_top.append(recall_at(TOP, found, exact, matching))
                at_1.append(recall_at(1, found, exact, matching))
                off = max(off, score_error(result["hits"], exact))
        yield _run(case, at_top, at_1, off, int(matching.sum()))


def recall_at(top: int, found: Sequence[int], exact: Floats, matching: Mask) -> float:
    """The share of the best `top` matching items by `exact` float32[n] that the first `top` of `found` stand for.

    A found item counts if it matches and is as good as the last of the best: of equal ones either will do.
    """
    wanted = min(top, int(matching.sum()))
    if not wanted:
        return 1.0
    last = np.partition(exact[matching], -wanted)[-wanted]
    good = [item for item in set(found[:top]) if matching[item] and exact[item] >= last - TIE]
    return len(good) / wanted


def weighted(query: Floats, weights: Mapping[str, float], places: Mapping[str, slice]) -> Floats:
    """The query float32[d] with each backbone's part times its weight; those without one are left out."""
    folded = np.zeros_like(query)
    for name, weight in weights.items():
        folded[places[name]] = np.float32(weight) * query[places[name]]
    return folded


def score_error(hits: Sequence[Mapping[str, Any]], exact: Floats) -> float:
    """The largest difference of a returned score and the exact one; 0 without hits."""
    return max((abs(hit["score"] - float(exact[item_of(hit["id"])])) for hit in hits), default=0.0)


def _results(gateway: Gateway, gallery: str, queries: Floats, case: SearchCase) -> list[dict[str, Any]]:
    asked = [{"embedding": encoded(query)} for query in queries]
    answer = ask(gateway, search(gallery, gateway.address, asked, case.fields() | {"explain": True}))
    for result in answer["results"]:
        if "error" in result:
            raise GatewayError(f"Query {result['index']} failed: {result['error']['message']}")
    return list(answer["results"])


def _run(case: SearchCase, at_top: Sequence[float], at_1: Sequence[float], off: float, matching: int) -> Run:
    mean_top, mean_1 = float(np.mean(at_top)), float(np.mean(at_1))
    return {
        "part": "recall",
        "case": case.name,
        "queries": len(at_top),
        "matching_items": matching,
        f"recall_at_{TOP}": round(mean_top, 5),
        "recall_at_1": round(mean_1, 5),
        f"worst_recall_at_{TOP}": round(min(at_top), 5),
        "score_error_max": float(f"{off:.2g}"),
        "aim": AIM,
        "aim_met": mean_top >= AIM and mean_1 >= AIM,
    }
