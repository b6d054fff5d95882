"""What the whole committee makes of many images: what controllers are fitted and cascades calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.deadline import Deadline
from service.errors import QuorumError
from service.pipeline.embed import Embedded, Embedder, Image
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.labels import LabelSet
from service.pipeline.logits import Floats, backbone_logits, cosines
from service.repository import Backbone
from service.timings import Timings

AT_ONCE: Final = 16
"""Images that a job puts before the backbones together. Requests in between wait for these at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """`rows[i]` is which of the images that were sent became image `i` here; `skipped` says what was wrong with others.

    `embeddings[b]` is `float32[n, d]`, unit rows, of `backbones[b]`; `logits` is `float32[b, n, c]`, temperatures
    applied; `digests[i]` is that of image `i`'s bytes.
    """

    backbones: tuple[Backbone, ...]
    embeddings: tuple[Floats, ...]
    logits: Floats
    digests: tuple[str, ...]
    rows: tuple[int, ...]
    skipped: Mapping[int, QuorumError]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(backbone.name for backbone in self.backbones)


@dataclass(frozen=True, slots=True)
class Gatherer:
    embedder: Embedder
    matrices: LabelMatrices
    backbones: tuple[Backbone, ...]

    async def gather(
        self,
        images: Sequence[Image | QuorumError],
        label_set: LabelSet,
        deadline: Deadline,
        progress: Callable[[float], None],
    ) -> Evidence:
        """Ask every backbone about every image, a few at a time; `progress` hears the share that is done.

        An image that cannot be read is skipped. Raises a backbone's error when one fails: half a committee teaches
        nothing about the whole.
        """
        matrices = await self._class_embeddings(label_set, deadline)
        skipped = {row: image for row, image in enumerate(images) if isinstance(image, QuorumError)}
        readable = [(row, image) for row, image in enumerate(images) if isinstance(image, Image)]
        seen: dict[int, Mapping[str, Floats]] = {}
        for start in range(0, len(readable), AT_ONCE):
            part = readable[start : start + AT_ONCE]
            answers = await self.embedder.embed_images(
                [image for _, image in part], self.backbones, deadline, Timings()
            )
            for (row, _), answer in zip(part, answers, strict=True):
                if isinstance(answer, QuorumError):
                    _raise_if_ours(answer)
                    skipped[row] = answer
                else:
                    seen[row] = _embeddings(answer)
            progress((start + len(part)) / len(readable))
        return self._evidence(images, seen, skipped, matrices)

    async def _class_embeddings(self, label_set: LabelSet, deadline: Deadline) -> dict[str, Floats]:
        found = await self.matrices.of(label_set, self.backbones, deadline)
        matrices: dict[str, Floats] = {}
        for name, matrix in found.items():
            if isinstance(matrix, QuorumError):
                raise matrix
            matrices[name] = matrix
        return matrices

    def _evidence(
        self,
        images: Sequence[Image | QuorumError],
        seen: Mapping[int, Mapping[str, Floats]],
        skipped: Mapping[int, QuorumError],
        matrices: Mapping[str, Floats],
    ) -> Evidence:
        rows = tuple(sorted(seen))
        digests = tuple(image.digest for row in rows if isinstance(image := images[row], Image))
        embeddings, logits = [], []
        for backbone in self.backbones:
            found = [seen[row][backbone.name] for row in rows]
            stacked = np.stack(found) if found else np.empty((0, backbone.embedding_dim), dtype=np.float32)
            embeddings.append(stacked)
            cosine = cosines(stacked, matrices[backbone.name])
            logits.append(backbone_logits(cosine, backbone.logit_scale, backbone.temperature))
        return Evidence(self.backbones, tuple(embeddings), np.stack(logits), digests, rows, dict(skipped))


def _raise_if_ours(error: QuorumError) -> None:
    """No time left, or no room: not the image's fault."""
    if error.status >= 500:
        raise error


def _embeddings(answer: Mapping[str, Embedded]) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    for name, embedded in answer.items():
        if isinstance(embedded.outcome, QuorumError):
            raise embedded.outcome
        found[name] = embedded.outcome
    return found
