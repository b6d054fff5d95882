"""What the literature puts beside a controller, fitted on the same labelled examples.

Logits are float32[n, b, c] as in `service.pipeline.controller.examples.Examples`; answers are logarithms of
probabilities, float32[n, c], so that every method is scored by the same functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.pipeline.controller.examples import Examples
from service.pipeline.controller.gradient import row_products
from service.pipeline.controller.scores import score
from service.pipeline.logits import Floats, softmax

TINY = np.finfo(np.float32).tiny
Doubles = npt.NDArray[np.float64]

MOST_ROUNDS = 500
ENOUGH = 1e-8


def best_backbone(examples: Examples) -> int:
    """Position of the backbone that is right most often on the examples; of equals the one of least loss."""
    scores = [score(examples.logits[:, place], examples.truth) for place in range(len(examples.backbones))]
    return max(range(len(scores)), key=lambda place: (scores[place].accuracy, -scores[place].loss))


def fit_super_learner(examples: Examples) -> Doubles:
    """Shares float64[b], summing to one, under which the mixture of the backbones' probabilities is likeliest.

    The convex combination of a super learner (van der Laan, Polley & Hubbard 2007). Backbones were not fitted on the
    examples, so their answers count as held out as they are. By expectation maximisation: likelihood never falls.
    """
    rows = np.arange(len(examples))
    given = softmax(examples.logits)[rows, :, examples.truth].astype(np.float64) + TINY
    shares = np.full(given.shape[1], 1 / given.shape[1])
    likelihood = -np.inf
    for _ in range(MOST_ROUNDS):
        mixed = given @ shares
        before, likelihood = likelihood, float(np.log(mixed).mean())
        if likelihood - before < ENOUGH:
            break
        shares = shares * (given / mixed[:, None]).mean(axis=0)
    return shares


def mixture(shares: npt.NDArray[np.floating], logits: Floats) -> Floats:
    """Logarithms float32[n, c] of the backbones' probabilities mixed by `shares`, [b] or [n, b]."""
    mixed = (shares[..., :, None] * softmax(logits)).sum(axis=1)
    return np.asarray(np.log(np.maximum(mixed, TINY)), dtype=np.float32)


@dataclass(frozen=True)
class MixtureSchedule:
    """How Lu et al. train: SGD with momentum, one warm-up epoch at a constant rate, then half a cosine."""

    learning_rate: float = 5e-3
    warm_up_rate: float = 1e-5
    epochs: int = 5
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4


@dataclass(frozen=True)
class MixtureNetwork:
    """Linear, ReLU, Linear, softmax over backbones: `w1` [h, d], `c1` [h], `w2` [b, h], `c2` [b]."""

    w1: Floats
    c1: Floats
    w2: Floats
    c2: Floats

    def shares(self, embeddings: Sequence[Floats]) -> Floats:
        """float32[n, b], rows that sum to one."""
        hidden = np.maximum(np.concatenate(embeddings, axis=1) @ self.w1.T + self.c1, 0)
        return softmax(hidden @ self.w2.T + self.c2)


def fit_mixture_network(
    examples: Examples, seed: int, *, double_softmax: bool = True, schedule: MixtureSchedule | None = None
) -> MixtureNetwork:
    """The learned mixture of Lu et al. ("Beyond Sole Strength", ICML 2024), which weighs probabilities.

    Their code divides the mixture by the number of backbones and gives it to a cross-entropy that takes logits, a
    second softmax; `double_softmax=False` maximises the mixture's likelihood instead. They read unnormalised embeddings
    and augment images; here embeddings are read as they come in the examples. Initial weights are uniform within
    1 / sqrt(inputs), as torch's.
    """
    plan = schedule or MixtureSchedule()
    generator = np.random.default_rng(seed)
    inputs = np.concatenate(examples.embeddings, axis=1)
    parameters = _initial(inputs.shape[1], max(1, inputs.shape[1] // 32), len(examples.backbones), generator)
    probabilities = softmax(examples.logits)
    velocity = [np.zeros_like(each) for each in parameters]
    for epoch in range(plan.epochs):
        rate = plan.warm_up_rate if not epoch else _cosine(plan.learning_rate, epoch, plan.epochs)
        order = generator.permutation(len(examples))
        for first in range(0, len(examples), plan.batch_size):
            rows = order[first : first + plan.batch_size]
            gradients = mixture_gradients(
                parameters, inputs[rows], probabilities[rows], examples.truth[rows], double_softmax=double_softmax
            )
            for place, gradient in enumerate(gradients):
                velocity[place] = plan.momentum * velocity[place] + gradient + plan.weight_decay * parameters[place]
                parameters[place] = (parameters[place] - rate * velocity[place]).astype(np.float32)
    return MixtureNetwork(*parameters)


def mixture_gradients(
    parameters: Sequence[Floats],
    inputs: Floats,
    probabilities: Floats,
    truth: npt.NDArray[np.int64],
    *,
    double_softmax: bool,
) -> list[Floats]:
    """The mean loss's gradient in w1, c1, w2, c2. inputs: float32[m, d]; probabilities: float32[m, b, c]."""
    w1, c1, w2, c2 = parameters
    rows = np.arange(len(truth))
    hidden = np.maximum(inputs @ w1.T + c1, 0)
    shares = softmax(hidden @ w2.T + c2)
    mixed = np.matmul(shares[:, None, :], probabilities)[:, 0]
    if double_softmax:
        d_mixed = softmax(mixed / np.float32(len(c2)))
        d_mixed[rows, truth] -= 1
        d_mixed /= len(c2)
    else:
        d_mixed = np.zeros_like(mixed)
        d_mixed[rows, truth] = -1 / np.maximum(mixed[rows, truth], TINY)
    d_shares = row_products(probabilities, d_mixed) / len(truth)
    d_outputs = shares * (d_shares - (shares * d_shares).sum(axis=1, keepdims=True))
    d_hidden = (d_outputs @ w2) * (hidden > 0)
    return [d_hidden.T @ inputs, d_hidden.sum(axis=0), d_outputs.T @ hidden, d_outputs.sum(axis=0)]


def _cosine(rate: float, epoch: int, epochs: int) -> float:
    return rate * 0.5 * (1 + float(np.cos(np.pi * epoch / epochs)))


def _initial(inputs: int, hidden: int, backbones: int, generator: np.random.Generator) -> list[Floats]:
    found: list[Floats] = []
    for outputs, width in ((hidden, inputs), (backbones, hidden)):
        reach = 1 / np.sqrt(width)
        found += [generator.uniform(-reach, reach, size).astype(np.float32) for size in ((outputs, width), (outputs,))]
    return found
