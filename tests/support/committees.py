"""Made-up committees whose members' strengths are known, so that it is known what a controller should find."""

from __future__ import annotations

import hashlib

import numpy as np

from service.pipeline.controller.examples import Examples, make_examples
from service.pipeline.logits import Floats, cosines, unit_rows

WIDTH = 24
SCALE = 20.0


class Committee:
    """Backbones with class embeddings of their own. `strengths[b][kind]` is how much of an image's class backbone `b`
    sees in images of that kind; the kind itself shows in every embedding. Kinds go by class: the first half is kind 0.
    """

    def __init__(self, strengths: dict[str, tuple[float, float]], classes: int = 20, seed: int = 0) -> None:
        self.generator = np.random.default_rng(seed)
        self.names = tuple(strengths)
        self.strengths = strengths
        self.classes = classes
        self.texts = {name: unit_rows(self._normal(classes, WIDTH)) for name in strengths}
        self.kinds = {name: unit_rows(self._normal(2, WIDTH)) for name in strengths}

    def _normal(self, *shape: int) -> Floats:
        return self.generator.standard_normal(shape, dtype=np.float32)

    def see(self, truth: np.ndarray) -> tuple[list[Floats], Floats]:
        """Embeddings per backbone, and logits `float32[b, n, c]`, of new images of the classes `truth`."""
        kind = (truth >= self.classes / 2).astype(np.int64)
        embeddings = []
        for name in self.names:
            seen = np.array(self.strengths[name], dtype=np.float32)[kind][:, None] * self.texts[name][truth]
            noise = unit_rows(self._normal(len(truth), WIDTH))
            embeddings.append(unit_rows(seen + 0.7 * self.kinds[name][kind] + noise))
        logits = [
            cosines(e, self.texts[name]) * np.float32(SCALE) for e, name in zip(embeddings, self.names, strict=True)
        ]
        return embeddings, np.stack(logits)

    def examples(self, shots: int) -> Examples:
        truth = np.repeat(np.arange(self.classes), shots)
        return make_examples(self.names, *self.see(truth), truth, digests(len(truth)))

    def test(self, n: int = 1000) -> tuple[list[Floats], Floats, np.ndarray]:
        """Embeddings, logits and truth of `n` new images."""
        truth = self.generator.integers(0, self.classes, n)
        return *self.see(truth), truth


def digests(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]


def specialists(classes: int = 20, seed: int = 0) -> Committee:
    """Two backbones, each blind to what the other knows: only who looks at the image can tell whom to ask."""
    return Committee({"left": (1.0, 0.0), "right": (0.0, 1.0)}, classes, seed)


def leader(classes: int = 20, seed: int = 0) -> Committee:
    """One backbone knows everything, two know nothing: static weights are all there is to learn."""
    return Committee({"blind": (0.0, 0.0), "expert": (1.0, 1.0), "noisy": (0.0, 0.0)}, classes, seed)


def equals(classes: int = 20, seed: int = 0) -> Committee:
    """Three backbones alike: nothing is to be learnt."""
    return Committee({"one": (0.8, 0.8), "three": (0.8, 0.8), "two": (0.8, 0.8)}, classes, seed)
