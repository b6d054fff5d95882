"""Training-free adapters of one backbone: z_b + alpha * votes, votes being what its embeddings of the examples say.

- `TipAdapter` (Zhang et al., ECCV 2022): the mean over a class's examples of exp(-beta * (1 - cosine)). The paper sums
  over them, of which it has equally many; with uneven ones a sum would favour the classes that have more.
- `Gaussian` (Wang et al., ICLR 2024): one Gaussian per class with a common covariance, shrunk towards a sphere.

Votes are scaled to a standard deviation of 1, so alpha is in nats. Alpha, beta or shrinkage, and a temperature are
chosen by the likelihood of the examples' own labels, where an example never votes on itself (leave one out, or folds).
Examples that are alone in their class have no such answer. Where all are (one shot) nothing can be chosen: votes then
have a fixed weight beside the backbone's own logits, those at the temperature that suits the examples best (where texts
say nothing they become flat, and votes decide). What is fitted on top sees these logits without votes.
Axes: n pictures, m examples, b backbones, c classes, d width of an embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from service.pipeline.controller.examples import Examples, deal
from service.pipeline.controller.scores import score
from service.pipeline.logits import Floats
from training.evaluate.committee.trial import Trial
from training.evaluate.temperature import fit_temperature

Integers = npt.NDArray[np.int64]

ALPHAS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 32.0)
FIXED_ALPHA = 0.25
"""Of one shot, in nats. No held-out answer can choose it: it was settled by looking at test scores, among 1, 0.5 and
0.25, on one draw of up to six tasks of an earlier zoo. One-shot figures over adapters are flattered by that."""
FEWEST_ANSWERS = 8
"""With fewer held-out answers nothing is chosen."""

MOST_ANSWERS = 800
"""Examples by which alpha and the setting are chosen; all of them vote."""

FOLDS = 4
LEAST_SPREAD = 1e-9


class Adapter(Protocol):
    """What the examples of one backbone say of pictures, under one number that must be chosen."""

    @property
    def settings(self) -> tuple[float, ...]:
        """What is tried."""

    @property
    def fixed(self) -> float:
        """What is taken where nothing can be chosen."""

    def own(self, rows: Integers, setting: float) -> Floats:
        """float32[rows, c], votes on some of the examples, in which they have no part themselves."""

    def asked(self, embeddings: Floats, setting: float) -> Floats:
        """float32[n, c], votes on other pictures, unit rows float32[n, d]."""


MakeAdapter = Callable[[Examples, int, int], Adapter]
"""From examples, the place of a backbone among them, and a seed."""


@dataclass(frozen=True)
class Chosen:
    """`setting`: beta or shrinkage; `scale`: one over the votes' standard deviation; `temperature`: what the adapted
    logits are divided by."""

    alpha: float
    setting: float
    scale: float
    temperature: float

    def adapt(self, logits: Floats, votes: Floats) -> Floats:
        """float32[n, c] from the backbone's own logits and the votes."""
        centred = votes - votes.mean(axis=1, keepdims=True)
        return np.asarray((logits + self.alpha * self.scale * centred) / self.temperature, dtype=np.float32)


def adapted(trial: Trial, make: MakeAdapter) -> tuple[Trial, tuple[Chosen, ...]]:
    """The same trial with every backbone's logits adapted, and how.

    The examples' own logits are held-out ones; examples without such an answer are left out of what is fitted next.
    """
    examples = trial.examples
    answerable = np.flatnonzero(np.bincount(examples.truth, minlength=examples.classes)[examples.truth] > 1)
    chooses = len(answerable) >= FEWEST_ANSWERS
    own, asked, how = [], [], []
    for place in range(len(trial.names)):
        adapter = make(examples, place, trial.seed)
        logits = examples.logits[:, place]
        if chooses:
            chosen = _choose(adapter, logits, examples.truth, answerable)
            own.append(chosen.adapt(logits[answerable], adapter.own(answerable, chosen.setting)))
        else:
            chosen = _fixed(adapter, logits, examples.truth)
            own.append(np.asarray(logits / chosen.temperature, dtype=np.float32))
        asked.append(chosen.adapt(trial.logits[:, place], adapter.asked(trial.embeddings[place], chosen.setting)))
        how.append(chosen)
    learnt = examples.take(answerable) if chooses else examples
    learnt = replace(learnt, logits=np.stack(own, axis=1))
    return replace(trial, examples=learnt, logits=np.stack(asked, axis=1)), tuple(how)


def _choose(adapter: Adapter, logits: Floats, truth: Integers, answerable: Integers) -> Chosen:
    """By the least loss at its best temperature; of equal choices that of least alpha."""
    rows = answerable[np.linspace(0, len(answerable) - 1, min(len(answerable), MOST_ANSWERS)).astype(np.int64)]
    best, least = Chosen(0.0, adapter.fixed, 1.0, 1.0), np.inf
    for setting in adapter.settings:
        votes = adapter.own(rows, setting)
        for alpha in ALPHAS:
            # Divided by what alpha adds, temperatures stay within what is searched.
            candidate = Chosen(alpha, setting, _scale(votes), 1 + alpha)
            loss = score(candidate.adapt(logits[rows], votes), truth[rows]).loss
            if loss < least:
                best, least = candidate, loss
    found = best.adapt(logits[rows], adapter.own(rows, best.setting))
    return replace(best, temperature=best.temperature * fit_temperature([(found, truth[rows])]))


def _fixed(adapter: Adapter, logits: Floats, truth: Integers) -> Chosen:
    """Without held-out votes. The backbone's own logits were not fitted on the examples: their temperature can be."""
    temperature = fit_temperature([(logits, truth)])
    votes = adapter.own(np.arange(len(truth)), adapter.fixed)
    return Chosen(FIXED_ALPHA * temperature, adapter.fixed, _scale(votes), temperature)


def _scale(votes: Floats) -> float:
    spread = float((votes - votes.mean(axis=1, keepdims=True)).std())
    return 1 / max(spread, LEAST_SPREAD)


@dataclass(frozen=True, eq=False)
class TipAdapter:
    """The labelled examples of one backbone as a cache: `keys` unit rows float32[m, d], `labels` int64[m]. A setting is
    a beta."""

    keys: Floats
    labels: Integers
    classes: int
    settings: tuple[float, ...] = (1.0, 4.0, 16.0, 64.0)
    fixed: float = 4.0

    @classmethod
    def of(cls, examples: Examples, place: int, _: int) -> Adapter:
        return cls(examples.embeddings[place], examples.truth, examples.classes)

    def own(self, rows: Integers, setting: float) -> Floats:
        affinity = np.exp(-setting * (1 - self.keys[rows] @ self.keys.T))
        affinity[np.arange(len(rows)), rows] = 0
        counts = np.tile(self._counts, (len(rows), 1))
        counts[np.arange(len(rows)), self.labels[rows]] -= 1
        return np.asarray(self._sums(affinity) / np.maximum(counts, 1), dtype=np.float32)

    def asked(self, embeddings: Floats, setting: float) -> Floats:
        affinity = np.exp(-setting * (1 - embeddings @ self.keys.T))
        return np.asarray(self._sums(affinity) / np.maximum(self._counts, 1), dtype=np.float32)

    def _sums(self, affinity: Floats) -> Floats:
        """float32[n, c], over the examples of each class, from float32[n, m]."""
        return class_sums(affinity.T, self.labels, self.classes).T

    @cached_property
    def _counts(self) -> Floats:
        return np.bincount(self.labels, minlength=self.classes).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Moments:
    """Of labelled rows: their mean `middle` float32[d]; `means` float32[c, d] of the classes around it, 0 for a class
    without rows; `within` float32[d, d], the covariance around the classes' means; `variance`, the mean of all
    directions."""

    middle: Floats
    means: Floats
    within: Floats
    variance: float

    @classmethod
    def of(cls, rows: Floats, labels: Integers, classes: int) -> "Moments":
        middle = rows.mean(axis=0)
        around = rows - middle
        counts = np.maximum(np.bincount(labels, minlength=classes), 1)[:, None]
        means = np.asarray(class_sums(around, labels, classes) / counts, dtype=np.float32)
        residual = around - means[labels]
        variance = max(float((around**2).mean()), LEAST_SPREAD)
        return cls(middle, means, residual.T @ residual / np.float32(len(rows)), variance)

    def discriminants(self, embeddings: Floats, shrinkage: float) -> Floats:
        """float32[n, c], log likelihoods of unit rows float32[n, d] but for what all classes share."""
        width = np.eye(len(self.middle), dtype=np.float32)
        covariance = self.within + np.float32(shrinkage * self.variance) * width
        directions = np.linalg.solve(covariance, self.means.T)
        biases = -(self.means.T * directions).sum(axis=0) / 2
        return np.asarray((embeddings - self.middle) @ directions + biases, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """The labelled examples of one backbone as Gaussians: `keys` unit rows float32[m, d], `labels` int64[m], `folds`
    int64[m], within which examples are held out together. A setting is a shrinkage: how many times the mean variance is
    added to every direction's. A class without examples lies at the mean of all."""

    keys: Floats
    labels: Integers
    classes: int
    folds: Integers
    settings: tuple[float, ...] = (0.03, 0.1, 1.0, 10.0)
    fixed: float = 10.0

    @classmethod
    def of(cls, examples: Examples, place: int, seed: int) -> Adapter:
        folds = deal(examples, min(FOLDS, len(examples)), seed)
        return cls(examples.embeddings[place], examples.truth, examples.classes, folds)

    def own(self, rows: Integers, setting: float) -> Floats:
        found = np.zeros((len(rows), self.classes), dtype=np.float32)
        for fold, moments in self._without_fold.items():
            out = np.flatnonzero(self.folds[rows] == fold)
            if len(out):
                found[out] = moments.discriminants(self.keys[rows[out]], setting)
        return found

    def asked(self, embeddings: Floats, setting: float) -> Floats:
        return Moments.of(self.keys, self.labels, self.classes).discriminants(embeddings, setting)

    @cached_property
    def _without_fold(self) -> dict[int, Moments]:
        """By fold the moments of all other examples, where there are any."""
        kept = {fold: self.folds != fold for fold in range(int(self.folds.max()) + 1)}
        return {
            fold: Moments.of(self.keys[rows], self.labels[rows], self.classes)
            for fold, rows in kept.items()
            if rows.any()
        }


def class_sums(rows: Floats, labels: Integers, classes: int) -> Floats:
    """float32[c, ...], the sum of the rows of each class; rows: float32[m, ...], labels: int64[m].

    Classes are runs of sorted rows: a product with a matrix of ones and zeros would be a hundred times the work.
    """
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    sums = np.zeros((classes, *rows.shape[1:]), dtype=np.float32)
    sums[present] = np.add.reduceat(rows[order], starts, axis=0)
    return sums
