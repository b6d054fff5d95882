"""Fits a controller's network with plain numpy: Adam on batches, in the paper's form or in any that it leaves open.

A schedule bounds what a fit costs, whatever the number of examples: `steps` batches of at most `batch_size` images. At
1,600 examples of six backbones of width 512 one step of the paper's form takes 4 ms of one core, and it takes one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.blas import one_blas_thread
from service.pipeline.controller.controller import Controller, Generic
from service.pipeline.controller.examples import Examples
from service.pipeline.controller.gradient import Batch, Form, Integers, Network, link_weights, loss_and_gradient
from service.pipeline.controller.opinions import Opinions
from service.pipeline.logits import Floats, unit_rows

BETA_1: Final = 0.9
BETA_2: Final = 0.999
EPSILON: Final = 1e-8

WHOLE_COMMITTEE: Final = 0.8
"""Share of the rows on which an any-subset controller sees everybody; the others see a random number of backbones, and
random ones. At 0.5 the whole committee lost up to half a point and pairs gained nothing."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Adam's. `strength / 2 * |theta - anchor|^2` is added to the loss: coupled weight decay where the anchor is 0, a
    pull towards a prior elsewhere. With `cosine` the rate falls to 0 along half a cosine."""

    learning_rate: float
    steps: int
    batch_size: int
    strength: float
    cosine: bool = False

    def rate(self, step: int) -> float:
        """Of one step, counted from 1."""
        share = 0.5 * (1 + math.cos(math.pi * (step - 1) / self.steps)) if self.cosine else 1.0
        return self.learning_rate * share


PAPER: Final = Schedule(learning_rate=2e-4, steps=800, batch_size=128, strength=0.01)
"""Rate and weight decay are the paper's. It names neither steps nor batch: four times as many steps moved accuracy by
less than 0.3 points on every task tried, and on six backbones of width 512 these fit into five seconds of one core."""


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """What a network reads of each example. `inputs` is `float32[n, inputs]`; `owners` `int64[inputs]` says to which
    backbone a column belongs, so that absent ones can be made zero. With a generic part there are `opinions` too."""

    inputs: Floats
    owners: Integers
    logits: Floats
    truth: Integers
    generic: Generic | None = None
    opinions: Opinions | None = None

    def batch(self, rows: Integers, present: Floats | None) -> Batch:
        """The examples `rows`, all backbones being there where `present` is None."""
        inputs = self.inputs[rows]
        everybody = np.ones((len(rows), self.logits.shape[1]), dtype=np.float32)
        if present is not None:
            inputs *= present[:, self.owners]
        there = everybody if present is None else present
        offsets = None
        if self.generic is not None and self.opinions is not None:
            offsets = self.generic.outputs(self.opinions.take(rows).of(there))
        return Batch(inputs, self.logits[rows], self.truth[rows], there, offsets)


@dataclass(frozen=True, slots=True, eq=False)
class FormFit:
    """A network fitted in some form, for comparisons; `weigh` is what `controller.weigh` is for a controller."""

    form: Form
    backbones: tuple[str, ...]
    network: Network
    theta: Floats

    def weigh(self, names: Sequence[str], embeddings: Sequence[Floats]) -> Floats:
        """Weights `float32[b, n]` of all backbones, in the order of `names`."""
        by_name = dict(zip(names, embeddings, strict=True))
        inputs = network_inputs([by_name[name] for name in self.backbones], self.form)
        _, t = self.network.run(self.theta, inputs)
        weights = link_weights(self.form.link, t, np.ones_like(t))
        return np.ascontiguousarray(weights[:, [self.backbones.index(name) for name in names]].T)


def fit_paper(examples: Examples, seed: int, *, any_subset: bool = False, schedule: Schedule = PAPER) -> Controller:
    """The paper's controller for exactly these backbones, from the logit mean; the same seed gives the same weights."""
    fit = fit_form(examples, Form(), seed, any_subset=any_subset, schedule=schedule)
    w1, c1, w2, c2 = fit.network.views(fit.theta)
    widths = tuple(rows.shape[1] for rows in examples.embeddings)
    return Controller(examples.backbones, widths, w1, c1, w2, c2, any_subset=any_subset)


@one_blas_thread()
def fit_form(
    examples: Examples, form: Form, seed: int, *, any_subset: bool = False, schedule: Schedule = PAPER
) -> FormFit:
    """The paper's fit in any form that the paper leaves open."""
    generator = np.random.default_rng(seed)
    inputs = network_inputs(examples.embeddings, form)
    count = len(examples.backbones)
    network = Network(inputs.shape[1], count, form.hidden, form.link)
    theta = start(network, generator, scale=1 / np.sqrt((inputs**2).sum(axis=1).mean()))
    design = Design(inputs, owners(examples.embeddings), examples.logits, examples.truth)
    feed = batches(design, schedule, generator, any_subset=any_subset)
    return FormFit(form, examples.backbones, network, descend(network, theta, np.zeros_like(theta), schedule, feed))


def network_inputs(embeddings: Sequence[Floats], form: Form) -> Floats:
    """`float32[n, inputs]`: all backbones' embeddings of an image in one row."""
    return np.concatenate([unit_rows(rows) if form.unit_features else rows for rows in embeddings], axis=1)


def owners(blocks: Sequence[Floats]) -> Integers:
    """Which backbone each column belongs to when `blocks`, one per backbone, lie side by side."""
    return np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks])


def start(network: Network, generator: np.random.Generator, *, scale: float) -> Floats:
    """Parameters where the first layer is random and all else 0, so that t is 0.

    `scale` is the reciprocal of an input's length: activations are then of order one, and at the paper's rate some
    hundred steps are enough where an initialisation by the number of inputs would need thousands.
    """
    theta = np.zeros(network.size, dtype=np.float32)
    w1 = network.views(theta)[0]
    w1[:] = generator.standard_normal(w1.shape, dtype=np.float32) * np.float32(scale)
    return theta


def descend(network: Network, theta: Floats, anchor: Floats, schedule: Schedule, feed: Iterable[Batch]) -> Floats:
    """Adam (Kingma & Ba 2015) from `theta`, one step per batch of `feed`."""
    theta = theta.copy()
    gradient, first, second = np.zeros((3, network.size), dtype=np.float32)
    for step, batch in enumerate(feed, start=1):
        loss_and_gradient(network, theta, batch, gradient)
        gradient += np.float32(schedule.strength) * (theta - anchor)
        first += np.float32(1 - BETA_1) * (gradient - first)
        second += np.float32(1 - BETA_2) * (gradient * gradient - second)
        scale = np.sqrt(second)
        scale *= np.float32(1 / math.sqrt(1 - BETA_2**step))
        scale += np.float32(EPSILON)
        theta -= np.float32(schedule.rate(step) / (1 - BETA_1**step)) * first / scale
    return theta


def batches(design: Design, schedule: Schedule, generator: np.random.Generator, *, any_subset: bool) -> Iterator[Batch]:
    """One batch per step: every example once before any comes again."""
    count, backbones = design.logits.shape[:2]
    size = min(schedule.batch_size, count)
    waiting = np.empty(0, dtype=np.int64)
    for _ in range(schedule.steps):
        if len(waiting) < size:
            waiting = np.concatenate([waiting, generator.permutation(count)])
        rows, waiting = waiting[:size], waiting[size:]
        yield design.batch(rows, random_subsets(generator, size, backbones) if any_subset else None)


def random_subsets(generator: np.random.Generator, rows: int, backbones: int) -> Floats:
    """`float32[rows, backbones]` of ones and zeros, each row with at least one 1."""
    sizes = generator.integers(1, backbones + 1, rows)
    sizes[generator.random(rows) < WHOLE_COMMITTEE] = backbones
    ranks = generator.random((rows, backbones)).argsort(axis=1).argsort(axis=1)
    return (ranks < sizes[:, None]).astype(np.float32)
