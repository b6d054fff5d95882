"""Prefix and thresholds of the retrieval cascade, chosen on rows that no controller was fitted on.

A prefix is one or two backbones (every one and every two are tried); it is one for both kinds of query, since a gallery
keeps one vector field of it. For each kind a threshold is tried at every 5 % quantile of the prefix's confidences.

A choice must lose little: the recall at 10 that it loses against the whole committee is at most half a point for either
kind of query, and at most half a point over both with one standard error added. Every source counts the same. The error
is that of a mean over pictures, since queries of one picture are not independent of one another: a picture's difference
is the mean of its captions' and its own. Of what loses little enough the cheapest is taken: least mean GFLOPs per
query, as a share of the whole committee's, over both kinds; where there is a choice, one that costs at most 60 % of the
committee for queries of either kind. Threshold 1, where all queries are everybody's, loses
nothing and is among what is tried, so it is what remains where nothing else qualifies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from service.pipeline.controller.controller import Controller
from service.pipeline.shipped.retrieval_file import QUERY_KINDS, JudgedExit
from service.policies import QueryKind
from training.evaluate.retrieval.pairs import SearchTask
from training.evaluate.retrieval.search import Searched, opinions_of, search
from training.evaluate.suites.zoo_measure import fold

K = 10
MOST_LOST = 0.005
MOST_GFLOPS = 0.6
QUANTILES = tuple(step / 20 for step in range(20))
LARGEST_PREFIX = 2
ALWAYS = 1.0
"""A threshold that no confidence reaches where there are two items to choose from."""

Booleans = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
Tasks = Mapping[QueryKind, Sequence[SearchTask]]
Costs = Mapping[QueryKind, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Stages:
    """What both stages of a cascade find for the queries of one source."""

    task: SearchTask
    first: Searched
    full: Searched

    def escalates(self, threshold: float) -> Booleans:
        """bool[n]."""
        return np.asarray(self.first.confidence < np.float32(threshold))

    def hits(self, threshold: float, k: int) -> Booleans:
        """bool[n]: whether the cascade's answer has a query's own item among its k best."""
        return np.where(self.escalates(threshold), self.full.hits(k), self.first.hits(k))


@dataclass(frozen=True, eq=False)
class Option:
    """A threshold for one kind of query. `differences`: by source float64[pictures], what each loses of its recall."""

    threshold: float
    differences: tuple[Doubles, ...]
    judged: JudgedExit


@dataclass(frozen=True)
class CascadeChoice:
    """`prefix` in the order of the zoo, and by kind of query the threshold and what it did where it was chosen. `lost`
    over both kinds, with its standard error."""

    prefix: tuple[str, ...]
    thresholds: Mapping[QueryKind, float]
    judged: Mapping[QueryKind, JudgedExit]
    lost: float
    standard_error: float

    @property
    def gflops_share(self) -> float:
        return float(np.mean([each.gflops_share for each in self.judged.values()]))

    @property
    def order(self) -> tuple[bool, float]:
        """The smaller, the better."""
        return max(each.gflops_share for each in self.judged.values()) > MOST_GFLOPS, self.gflops_share

    @property
    def loses_little(self) -> bool:
        each = all(judged.lost <= MOST_LOST for judged in self.judged.values())
        return each and self.lost + self.standard_error <= MOST_LOST


def choose(tasks: Tasks, controllers: Mapping[QueryKind, Controller], gflops: Costs) -> CascadeChoice:
    """The cheapest cascade that loses little enough; of equals the first, fewer and cheaper backbones before others.

    `tasks`: by kind of query the same sources in the same order. `gflops`: by kind and backbone, per query. Raises
    `ValueError` for a zoo of one backbone.
    """
    names = tasks["text"][0].names
    if len(names) < 2:
        raise ValueError("a cascade needs two backbones")
    full = {kind: [_search(task, controllers[kind], names) for task in tasks[kind]] for kind in QUERY_KINDS}
    found: list[CascadeChoice] = []
    for size in range(1, min(LARGEST_PREFIX, len(names) - 1) + 1):
        for prefix in combinations(names, size):
            stages = {
                kind: [
                    Stages(task, _search(task, controllers[kind], prefix), everybody)
                    for task, everybody in zip(tasks[kind], full[kind], strict=True)
                ]
                for kind in QUERY_KINDS
            }
            found.append(best_of(prefix, stages, gflops))
    return min(found, key=lambda choice: choice.order)


def _search(task: SearchTask, controller: Controller, names: Sequence[str]) -> Searched:
    return search(task, names, opinions_of(controller, task, names))


def best_of(prefix: tuple[str, ...], stages: Mapping[QueryKind, Sequence[Stages]], gflops: Costs) -> CascadeChoice:
    """The cheapest pair of thresholds of one prefix that loses little enough; of equals the lower ones."""
    options = [options_of(stages[kind], share_of(prefix, gflops[kind])) for kind in QUERY_KINDS]
    choices = (_choice(prefix, pair) for pair in product(*options))
    return min((each for each in choices if each.loses_little), key=lambda each: each.order)


def _choice(prefix: tuple[str, ...], pair: Sequence[Option]) -> CascadeChoice:
    by_source = zip(*(option.differences for option in pair), strict=True)
    lost, error = mean_of([np.mean(kinds, axis=0) for kinds in by_source])
    return CascadeChoice(
        prefix=prefix,
        thresholds={kind: option.threshold for kind, option in zip(QUERY_KINDS, pair, strict=True)},
        judged={kind: option.judged for kind, option in zip(QUERY_KINDS, pair, strict=True)},
        lost=lost,
        standard_error=error,
    )


def share_of(prefix: Sequence[str], gflops: Mapping[str, float]) -> float:
    """What a query costs that the prefix answers, as a share of what it costs to ask everybody."""
    return sum(gflops[name] for name in prefix) / sum(gflops.values())


def options_of(stages: Sequence[Stages], prefix_share: float) -> list[Option]:
    """Every threshold that is tried, lowest first."""
    return [option_of(stages, threshold, prefix_share) for threshold in [*quantiles(stages), ALWAYS]]


def quantiles(stages: Sequence[Stages]) -> list[float]:
    """Confidences below which 0, 5, ..., 95 % of the queries lie, every source and every picture counting the same."""
    confidence = np.concatenate([each.first.confidence for each in stages])
    weights = np.concatenate([each.task.per_query / len(stages) for each in stages])
    order = np.argsort(confidence, kind="stable")
    below = np.cumsum(weights[order]) - weights[order]
    places = np.searchsorted(below, np.array(QUANTILES) - 1e-9)
    return [float(confidence[order][place]) for place in np.minimum(places, len(order) - 1)]


def option_of(stages: Sequence[Stages], threshold: float, prefix_share: float) -> Option:
    """What a threshold loses and saves, every source counting the same."""
    differences = [
        fold(each.full.hits(K).astype(np.float64) - each.hits(threshold, K), each.task.asking) for each in stages
    ]
    lost, error = mean_of(differences)
    escalated = float(np.mean([each.task.per_query @ each.escalates(threshold) for each in stages]))
    judged = JudgedExit(lost, error, escalated, prefix_share + escalated * (1 - prefix_share))
    return Option(threshold, tuple(differences), judged)


def mean_of(differences: Sequence[Doubles]) -> tuple[float, float]:
    """The mean over sources of means over pictures, float64[pictures] each, and its standard error."""
    errors = [each.var(ddof=1) / len(each) if len(each) > 1 else 0.0 for each in differences]
    means = [each.mean() for each in differences]
    return float(np.mean(means)), float(np.sqrt(np.sum(errors)) / len(differences))
