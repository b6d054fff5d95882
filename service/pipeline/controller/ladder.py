"""The ladder: probability mean, static weights, network. How far up it a label set's examples carry.

Rungs and strengths are compared by the likelihood of held-out labels, each candidate at its own best temperature:
accuracy on a hundred examples is too coarse to choose by, and plain likelihood would reward mere sharpening, which
calibration does anyhow. To be chosen flatters a candidate, so the *choosing* is judged on folds that it did not see
(nested folds), and its fit is accepted only where it does not fall behind what is served without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from service.blas import one_blas_thread
from service.pipeline.controller.controller import Controller, Generic, static_controller, weigh
from service.pipeline.controller.examples import Examples, Integers, deal
from service.pipeline.controller.gradient import weighted_mean
from service.pipeline.controller.pulled import CANDIDATES, Candidate, fit_candidates
from service.pipeline.controller.report import (
    BACKBONE,
    LadderReport,
    about_examples,
    accepted,
    reasons_against,
    refused,
)
from service.pipeline.controller.scores import Scores, joined, score
from service.pipeline.logits import mean_probability

FOLDS: Final = 4
LEAST_EXAMPLES: Final = 2 * FOLDS
"""With fewer, held-out scores are those of single images."""

Progress = Callable[[float], None]
ByCandidate = dict[Candidate, Scores]


@dataclass(frozen=True, slots=True, eq=False)
class Climbed:
    """`controller` is None where the examples do not carry beyond the prior; the report says why."""

    controller: Controller | None
    report: LadderReport


@one_blas_thread()
def climb(examples: Examples, seed: int, generic: Generic | None = None, progress: Progress | None = None) -> Climbed:
    """The highest rung that the examples carry. `progress` hears the share that is done, and may raise to stop.

    A fit starts at the generic controller where there is one, else at the logit mean. The same examples, seed and prior
    give the same controller, whatever order the examples came in.
    """
    unfitted = _unfitted(examples, generic)
    about = about_examples(examples, seed)
    if reason := _cannot_be_judged(examples):
        return Climbed(None, refused(about, unfitted, None, (reason,)))
    folds = _Folds(examples, deal(examples, FOLDS, seed), seed, generic, progress)
    outer = {out: folds.held_out({out})[out] for out in range(FOLDS)}
    pairs = {frozenset(pair): folds.held_out(pair) for pair in combinations(range(FOLDS), 2)}
    prior = unfitted["mean" if generic is None else "generic"]
    nested = joined([folds.nested(out, outer, pairs, prior) for out in range(FOLDS)])
    order = np.concatenate([folds.rows(out) for out in range(FOLDS)])
    compared = {name: scores.take(order) for name, scores in unfitted.items()}
    chosen = _choose([outer[out] for out in range(FOLDS)], prior)
    against = reasons_against(nested, compared, chosen is not None)
    if against or chosen is None:
        return Climbed(None, refused(about, compared, nested, against))
    (controller,) = fit_candidates(examples, (chosen,), seed, generic)
    folds.count()
    return Climbed(controller, accepted(about, compared, nested, chosen))


def _cannot_be_judged(examples: Examples) -> str | None:
    if examples.classes == 1:
        return "There is one label only: every weight gives the same answer."
    if len(examples.backbones) == 1:
        return "There is one backbone only: there is nothing to weigh."
    if len(examples) < LEAST_EXAMPLES:
        return f"{len(examples)} different examples are too few to judge a fit by; send at least {LEAST_EXAMPLES}."
    return None


def _unfitted(examples: Examples, generic: Generic | None) -> dict[str, Scores]:
    """What answers without examples, scored on all of them: `mean`, `mean_logit`, `generic` and every backbone."""
    logits = examples.logits.transpose(1, 0, 2)
    means = np.log(np.maximum(mean_probability(logits), np.finfo(np.float32).tiny))
    found = {"mean": score(means, examples.truth), "mean_logit": score(logits.mean(axis=0), examples.truth)}
    if generic is not None:
        widths = [rows.shape[1] for rows in examples.embeddings]
        found["generic"] = _scores(static_controller(examples.backbones, widths, generic=generic), examples)
    return found | {
        BACKBONE + name: score(own, examples.truth) for name, own in zip(examples.backbones, logits, strict=True)
    }


def _scores(controller: Controller, examples: Examples) -> Scores:
    """Weighed by the same function that answers requests."""
    weights = weigh(controller, examples.backbones, examples.embeddings, examples.logits.transpose(1, 0, 2))
    return score(weighted_mean(weights.T / np.float32(len(weights)), examples.logits), examples.truth)


def _choose(parts: Sequence[ByCandidate], prior: Scores) -> Candidate | None:
    """The candidate of least loss over all parts; None where the prior's is as low."""
    losses = {each: joined([part[each] for part in parts]).loss for each in CANDIDATES}
    best = min(CANDIDATES, key=lambda each: losses[each])
    return best if losses[best] < prior.loss else None


class _Folds:
    """Every candidate fitted without one fold or without two, and scored on those."""

    def __init__(
        self, examples: Examples, fold: Integers, seed: int, generic: Generic | None, progress: Progress | None
    ) -> None:
        self._examples = examples
        self._fold = fold
        self._seed = seed
        self._generic = generic
        self._progress = progress
        self._done = 0

    def rows(self, out: int) -> Integers:
        return np.flatnonzero(self._fold == out)

    def count(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done / (FOLDS * (FOLDS - 1) // 2 + FOLDS + 1))

    def held_out(self, out: Iterable[int]) -> dict[int, ByCandidate]:
        """By fold in `out` every candidate's scores on it, fitted on the examples of no fold in `out`."""
        rest = self._examples.take(np.flatnonzero(~np.isin(self._fold, list(out))))
        controllers = fit_candidates(rest, CANDIDATES, self._seed, self._generic)
        self.count()
        found: dict[int, ByCandidate] = {}
        for each in out:
            part = self._examples.take(self.rows(each))
            found[each] = {
                candidate: _scores(controller, part)
                for candidate, controller in zip(CANDIDATES, controllers, strict=True)
            }
        return found

    def nested(
        self,
        out: int,
        outer: Mapping[int, ByCandidate],
        pairs: Mapping[frozenset[int], Mapping[int, ByCandidate]],
        prior: Scores,
    ) -> Scores:
        """On fold `out`, what the other folds alone would have chosen."""
        others = [each for each in range(FOLDS) if each != out]
        inner = [pairs[frozenset((out, each))][each] for each in others]
        chosen = _choose(inner, prior.take(np.flatnonzero(self._fold != out)))
        return prior.take(self.rows(out)) if chosen is None else outer[out][chosen]
