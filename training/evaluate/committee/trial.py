"""One trial: what a method may learn from, and what it is asked. Methods of every section speak of trials.

Inside a trial backbones are in the order of their names, as the gateway's examples are. Axes: b backbones, n test
pictures, m examples, c classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.pipeline.controller.examples import Examples
from service.pipeline.logits import Floats
from training.evaluate.committee.pools import Pool, TaskPools


@dataclass(frozen=True, eq=False)
class Trial:
    """`examples`: labelled pictures that may be learnt from; `embeddings`: per backbone unit rows float32[n, d] of the
    test pictures; `logits`: float32[n, b, c] of them; `gflops`, `temperatures`: per backbone; `seed`: of the fits."""

    examples: Examples
    embeddings: tuple[Floats, ...]
    logits: Floats
    gflops: tuple[float, ...]
    temperatures: tuple[float, ...]
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        return self.examples.backbones


@dataclass(frozen=True, eq=False)
class Answer:
    """`scores`: float32[n, c], logits or logarithms of probabilities; `gflops`: mean cost of one picture; `shares`:
    per backbone, in the order of the trial, its mean share of the weights, null for what does not weigh; `note`: what
    the method decided, in a word."""

    scores: Floats
    gflops: float
    shares: tuple[float, ...] | None = None
    note: str | None = None


def make_trial(task: TaskPools, shots: Pool, asked: Pool, seed: int) -> Trial:
    """`shots` and `asked` are pools of `task`. Raises `InvalidExamplesError` where there are no shots."""
    order = [task.backbones.index(name) for name in sorted(task.backbones)]
    return Trial(
        shots.examples(task.backbones),
        tuple(asked.embeddings[place] for place in order),
        np.ascontiguousarray(asked.logits[:, order]),
        tuple(task.gflops[place] for place in order),
        tuple(task.temperatures[place] for place in order),
        seed,
    )


def mean_shares(weights: Floats) -> tuple[float, ...]:
    """Per backbone the mean over pictures of its share of a picture's weights, float32[b, n]."""
    shares = weights / weights.sum(axis=0)
    return tuple(float(share) for share in shares.mean(axis=1))


def total(gflops: Sequence[float]) -> float:
    """Of asking everybody."""
    return float(sum(gflops))
