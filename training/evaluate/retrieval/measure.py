"""One retrieval set measured: every backbone alone, the committees, and the cascade over all its thresholds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.pipeline.logits import Floats
from service.pipeline.retrieval.query_vectors import shares
from service.pipeline.shipped.retrieval_file import QUERY_KINDS, RetrievalFile
from service.policies import QueryKind
from training.evaluate.cache import digest_of
from training.evaluate.retrieval.choice import Stages, share_of
from training.evaluate.retrieval.pairs import Pairs, SearchTask
from training.evaluate.retrieval.report import (
    COMPARISONS,
    RECALL_AT,
    CurvePoint,
    DirectionReport,
    Found,
    K,
    SetReport,
)
from training.evaluate.retrieval.search import Searched, alike, opinions_of, search
from training.evaluate.retrieval.synthetic import NONE, Distractors
from training.evaluate.statistics import Resamples, Score, interval, resamples

CURVE_STEPS = 40
"""Thresholds of a curve lie between so many equal shares of the queries."""

Costs = Mapping[QueryKind, Mapping[str, float]]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Everyone:
    """All searches of one kind of query. `opinions` float32[b, n] of the controller."""

    task: SearchTask
    opinions: Floats
    singles: Mapping[str, Searched]
    mean: Searched
    mean_cosine: Searched
    stages: Stages
    threshold: float

    def hits(self, k: int) -> dict[str, Booleans]:
        """bool[n] of the committees, by name."""
        return {
            "mean": self.mean.hits(k),
            "mean_cosine": self.mean_cosine.hits(k),
            "nlc": self.stages.full.hits(k),
            "cascade": self.stages.hits(self.threshold, k),
        }


def measure_set(pairs: Pairs, file: RetrievalFile, gflops: Costs, others: Distractors = NONE) -> SetReport:
    """Both kinds of query; `others` are in the galleries besides the set's own items."""
    return SetReport(
        source=pairs.source,
        novelty=pairs.novelty,
        pictures=len(pairs.rows),
        captions=len(pairs.owner),
        rows_sha256=digest_of(sorted(row.digest for row in pairs.rows)),
        directions=tuple(
            direction(search_all(pairs.task(kind), file, others), file.prefix, gflops[kind], others.counts.get(kind, 0))
            for kind in QUERY_KINDS
        ),
    )


def search_all(task: SearchTask, file: RetrievalFile, others: Distractors) -> Everyone:
    """Every search that is reported, exactly."""
    names, controller = task.names, file.controllers[task.kind]
    opinions = opinions_of(controller, task, names)

    def found(members: Sequence[str], own: Floats) -> Searched:
        return search(task, members, own, others.blocks(task.kind))

    return Everyone(
        task=task,
        opinions=opinions,
        singles={name: found([name], alike(task, [name])) for name in names},
        mean=found(names, alike(task, names)),
        mean_cosine=found(names, alike(task, names) / task.scales[:, None]),
        stages=Stages(task, found(file.prefix, opinions_of(controller, task, file.prefix)), found(names, opinions)),
        threshold=file.thresholds[task.kind],
    )


def direction(
    everyone: Everyone, prefix: Sequence[str], gflops: Mapping[str, float], synthetic: int
) -> DirectionReport:
    """Scores of all searches; queries of one picture are drawn together."""
    task, stages = everyone.task, everyone.stages
    weights = resamples(task.pictures, name=task.source).spread(task.asking)
    full = sum(gflops.values())
    escalates = stages.escalates(everyone.threshold)
    costs = dict.fromkeys(("mean", "mean_cosine", "nlc"), full)
    costs["cascade"] = cascade_share(prefix, gflops, weights.value(escalates)) * full
    committees = {k: everyone.hits(k) for k in RECALL_AT}
    singles = {k: {name: each.hits(k) for name, each in everyone.singles.items()} for k in RECALL_AT}
    best = {k: _best(singles[k], weights) for k in RECALL_AT}
    rivals = {k: {**committees[k], "best": singles[k][best[k]]} for k in RECALL_AT}
    return DirectionReport(
        kind=task.kind,
        queries=len(task.asking),
        items=len(task.owner) + synthetic,
        synthetic=synthetic,
        backbones={name: _found(singles, name, weights, gflops[name], full) for name in task.names},
        committees={name: _found(committees, name, weights, cost, full) for name, cost in costs.items()},
        best=best,
        gains={
            f"{one} over {other}": {k: _gain(rivals[k][one], rivals[k][other], weights) for k in RECALL_AT}
            for one, other in COMPARISONS
        },
        escalated=weights.score(escalates),
        weights=dict(zip(task.names, (shares(everyone.opinions, task.scales) @ weights.point).tolist(), strict=True)),
        curve=tuple(_curve(stages, prefix, gflops, weights)),
    )


def cascade_share(prefix: Sequence[str], gflops: Mapping[str, float], escalated: float) -> float:
    """What a query of the cascade costs on average, as a share of the committee's GFLOPs."""
    first = share_of(prefix, gflops)
    return first + escalated * (1 - first)


def _best(hits: Mapping[str, Booleans], weights: Resamples) -> str:
    return min(hits, key=lambda name: (-weights.value(hits[name]), name))


def _found(
    hits: Mapping[int, Mapping[str, Booleans]], name: str, weights: Resamples, gflops: float, full: float
) -> Found:
    recall = {k: weights.score(by_name[name]) for k, by_name in hits.items()}
    return Found(recall=recall, gflops=gflops, gflops_share=gflops / full)


def _gain(one: Booleans, other: Booleans, weights: Resamples) -> Score:
    """The difference of two recalls on the same resamples. Not `Resamples.score`: a difference may be 0 throughout."""
    difference = one.astype(np.float64) - other
    return interval(weights.value(difference), weights.drawn(difference))


def _curve(
    stages: Stages, prefix: Sequence[str], gflops: Mapping[str, float], weights: Resamples
) -> Iterator[CurvePoint]:
    """From no query that escalates to all that do."""
    confidences = np.sort(stages.first.confidence)
    places = np.linspace(0, len(confidences) - 1, CURVE_STEPS + 1).round().astype(np.int64)
    for threshold in [*confidences[places].tolist(), float(np.nextafter(np.float32(1), np.float32(2)))]:
        escalated = weights.value(stages.escalates(threshold))
        recall = weights.value(stages.hits(threshold, K))
        yield CurvePoint(threshold, escalated, cascade_share(prefix, gflops, escalated), recall)
