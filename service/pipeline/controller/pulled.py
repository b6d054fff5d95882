"""Fits that start at a prior and are pulled towards it: static weights, and the network on top of them.

The network's first layer moves only within the span of each backbone's main directions on the examples. With a pull
towards the start that is where the best first layer lies anyhow (whatever is orthogonal to every example changes no
loss and costs pull); keeping the first `RANK` of them leaves out what few examples cannot teach, and makes a fit cost
the same for embeddings of any width. The fitted controller reads whole embeddings all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from service.pipeline.controller.controller import Controller, Generic, static_controller
from service.pipeline.controller.examples import Examples
from service.pipeline.controller.fit import Design, Schedule, batches, descend, owners, start
from service.pipeline.controller.gradient import Network
from service.pipeline.controller.opinions import opinions_of
from service.pipeline.controller.static import fit_static
from service.pipeline.logits import Floats

RANK: Final = 32
OVERSAMPLING: Final = 8
POWER_STEPS: Final = 2
HIDDEN: Final = 128

Rung = Literal["static", "nlc"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rung of the ladder, and how strongly its fit is pulled towards the rung below."""

    rung: Rung
    strength: float


CANDIDATES: Final = (
    *(Candidate("static", strength) for strength in (0.1, 0.01, 0.001)),
    *(Candidate("nlc", strength) for strength in (1.0, 0.1, 0.01)),
)
"""From the safest to the boldest: of equal scores the first is taken."""

STATIC_BELOW: Final = 0.01
"""The strength of the static weights that the network starts at."""

LEARNING_RATE: Final = 2e-3
STEPS: Final = 150
BATCH_SIZE: Final = 128
"""Ten times the paper's rate, falling to 0: the ladder fits the network some thirty times, and these few steps reach
the accuracy of the paper's 800."""


def fit_candidates(
    examples: Examples, candidates: Sequence[Candidate], seed: int, generic: Generic | None = None
) -> tuple[Controller, ...]:
    """Every candidate fitted on the same examples; `generic` is the prior where there is one, else the logit mean."""
    opinions = opinions_of(examples.logits.transpose(1, 0, 2)) if generic is not None else None
    offsets = generic.outputs(opinions.of_all()) if generic is not None and opinions is not None else None
    statics = {
        strength: fit_static(examples.logits, examples.truth, strength, offsets)
        for strength in {STATIC_BELOW, *(each.strength for each in candidates if each.rung == "static")}
    }
    widths = tuple(rows.shape[1] for rows in examples.embeddings)
    bases = main_directions(examples.embeddings, np.random.default_rng(seed))
    parts = [rows @ basis for rows, basis in zip(examples.embeddings, bases, strict=True)]
    design = Design(np.concatenate(parts, axis=1), owners(parts), examples.logits, examples.truth, generic, opinions)
    return tuple(
        static_controller(examples.backbones, widths, statics[each.strength], generic)
        if each.rung == "static"
        else _fit_network(examples.backbones, bases, design, statics[STATIC_BELOW], each.strength, seed)
        for each in candidates
    )


def _fit_network(
    backbones: tuple[str, ...], bases: Sequence[Floats], design: Design, c2: Floats, strength: float, seed: int
) -> Controller:
    """An any-subset controller that starts at the static weights `c2` and is pulled back to them."""
    generator = np.random.default_rng(seed)
    network = Network(design.inputs.shape[1], len(backbones), HIDDEN)
    prior = start(network, generator, scale=1 / np.sqrt(len(backbones)))
    network.views(prior)[3][:] = c2
    schedule = Schedule(LEARNING_RATE, STEPS, BATCH_SIZE, strength, cosine=True)
    theta = descend(network, prior, prior, schedule, batches(design, schedule, generator, any_subset=True))
    w1, c1, w2, c2 = network.views(theta)
    bounds = np.cumsum([basis.shape[1] for basis in bases])[:-1]
    blocks = [block @ basis.T for block, basis in zip(np.split(w1, bounds, axis=1), bases, strict=True)]
    widths = tuple(len(basis) for basis in bases)
    return Controller(backbones, widths, np.concatenate(blocks, axis=1), c1, w2, c2, design.generic)


def main_directions(embeddings: Sequence[Floats], generator: np.random.Generator) -> tuple[Floats, ...]:
    """Per backbone an orthonormal basis `float32[d, at most RANK]` of what its embeddings `float32[n, d]` mostly span.

    By randomised subspace iteration (Halko, Martinsson & Tropp 2011): a few products instead of a decomposition.
    """
    return tuple(_main_directions(rows, generator) for rows in embeddings)


def _main_directions(rows: Floats, generator: np.random.Generator) -> Floats:
    images, width = rows.shape
    rank = min(RANK, images, width)
    sketch = generator.standard_normal((images, min(rank + OVERSAMPLING, width)), dtype=np.float32)
    basis = np.linalg.qr(rows.T @ sketch)[0]
    for _ in range(POWER_STEPS):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    _, _, rotation = np.linalg.svd(rows @ basis, full_matrices=False)
    return np.ascontiguousarray((basis @ rotation.T)[:, :rank])
