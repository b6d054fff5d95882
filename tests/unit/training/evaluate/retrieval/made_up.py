"""Retrieval sets whose backbones are as good as the test wants them to be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from service.pipeline.logits import Floats, unit_rows
from training.data.rows import Row
from training.evaluate.retrieval.pairs import Pairs

NAMES = ("cheap", "good", "bad")
WIDTHS = (6, 8, 10)
NOISE = (0.8, 0.3, 3.0)
"""Of a caption's embedding, per backbone: how far it lies from its picture's."""


def pairs(
    pictures: int = 40,
    captions: int | Sequence[int] = 2,
    *,
    source: str = "scenes",
    seed: int = 0,
    noise: Sequence[float] = NOISE,
) -> Pairs:
    """`captions`: of every picture, or picture by picture."""
    generator = np.random.default_rng(seed)
    counts = [captions] * pictures if isinstance(captions, int) else list(captions)
    owner = np.repeat(np.arange(pictures), counts)

    def random(count: int, width: int) -> Floats:
        return unit_rows(generator.standard_normal((count, width), dtype=np.float32))

    images = [random(pictures, width) for width in WIDTHS]
    texts = [
        unit_rows(rows[owner] + np.float32(level) * random(len(owner), rows.shape[1]))
        for rows, level in zip(images, noise, strict=True)
    ]
    rows = tuple(row(f"{source}/{seed}/{place}", source, count) for place, count in enumerate(counts))
    scales = np.array([20, 10, 40], dtype=np.float32)
    return Pairs(source, "seen source", rows, NAMES, scales, tuple(images), tuple(texts), owner)


def row(name: str, source: str, captions: int) -> Row:
    """A row without a picture, known by its digest."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Row(b"", digest, tuple(f"{name}, {number}" for number in range(captions)), None, source, test=True)
