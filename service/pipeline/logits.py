"""Embeddings to probabilities: pure functions, shared by the gateway and by offline evaluation.

Axes: `b` backbones, `n` images, `c` classes, `d` embedding width. Leading axes of a function's last argument broadcast.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MeanPolicy = Literal["mean", "mean_logit"]


def unit_rows(rows: Floats) -> Floats:
    """`float32[..., d]` scaled to length one along the last axis; a zero row stays zero."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def cosines(image_embeddings: Floats, class_embeddings: Floats) -> Floats:
    """`float32[n, c]` from unit rows `float32[n, d]` and `float32[c, d]`."""
    return np.asarray(image_embeddings @ class_embeddings.T, dtype=np.float32)


def backbone_logits(cosine: Floats, logit_scale: float, temperature: float) -> Floats:
    """`z_b = s_b * cosine / T_b`, same shape as `cosine`."""
    return np.asarray(cosine * (logit_scale / temperature), dtype=np.float32)


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis, shifted by the maximum so that nothing overflows."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), dtype=np.float32)


def weighted_cosine(weights: Floats, cosine: Floats) -> Floats:
    """Committee cosine `sum_b a_b cos_b / sum_b a_b`: `float32[..., c]` from `[b, ...]` and `[b, ..., c]`."""
    return np.asarray((weights[..., None] * cosine).sum(axis=0) / weights.sum(axis=0)[..., None], dtype=np.float32)


def mean_probability(logits: Floats) -> Floats:
    """Mean of the backbones' own probabilities: `float32[..., c]` from logits `float32[b, ..., c]`."""
    return np.asarray(softmax(logits).mean(axis=0), dtype=np.float32)


def mean_logit(logits: Floats) -> Floats:
    """Probabilities of the mean logit: `float32[..., c]` from logits `float32[b, ..., c]`."""
    return softmax(np.asarray(logits.mean(axis=0), dtype=np.float32))


def committee_probabilities(policy: MeanPolicy, logits: Floats) -> Floats:
    """What the backbones say together under `policy`: `float32[..., c]` from logits `float32[b, ..., c]`."""
    return mean_probability(logits) if policy == "mean" else mean_logit(logits)
