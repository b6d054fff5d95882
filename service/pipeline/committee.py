"""How the votes of several backbones become one answer: the same for requests, calibration and offline evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.pipeline.controller.controller import Controller, committee_logits, weigh
from service.pipeline.logits import Floats, MeanPolicy, mean_probability

Voice = Controller | MeanPolicy
"""What combines votes: a fitted controller, or one of the plain means."""


@dataclass(frozen=True, slots=True)
class Combined:
    """`weights` `float32[b, n]`: how much each vote counted; `logits` `float32[n, c]`: what they say together."""

    weights: Floats
    logits: Floats


def combine(voice: Voice, names: Sequence[str], embeddings: Sequence[Floats], logits: Floats) -> Combined:
    """The answer of the backbones `names` together.

    `embeddings[i]` is `float32[n, d]`, unit rows, of `names[i]`; `logits` `float32[b, n, c]` are the backbones' own,
    temperatures applied. For the probability mean the logits are its logarithm, so that a stage's temperature has the
    same meaning whatever the voice is. Raises `ValueError` for backbones that a controller does not know.
    """
    if isinstance(voice, Controller):
        weights = weigh(voice, names, embeddings, logits)
        return Combined(weights, committee_logits(weights, logits))
    weights = np.ones(logits.shape[:2], dtype=np.float32)
    if voice == "mean_logit":
        return Combined(weights, committee_logits(weights, logits))
    probabilities = mean_probability(logits)
    return Combined(weights, np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))
