"""Pictures of a source with the exact labels of one kind, in memory, and how they are shown to a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from service.model_config import Preprocessing
from training.data.augment import Augmentation
from training.data.samples import decode_rows
from training.data.sources import read_rows
from training.experts.dense_source import label_folder
from training.experts.errors import ExpertError
from training.experts.fitting.feed import augment_densely
from training.experts.labels.store import LabelStore
from training.experts.nets.tasks import Task
from training.experts.protocol import UNKNOWN_CLASS, Identity
from training.experts.targets import NO_CLASS, Targets

CHUNK = 256
GROUPS = 4
"""Pictures of a batch are blurred in so many groups, each in its own strength."""


@dataclass(frozen=True)
class Look:
    """Changes of a picture's look that leave its labels as they are; drawn scenes are sharp and clean, photographs are
    not. blur: smallest share of the side that a picture is reduced to and enlarged from; blurred: share of pictures
    to which it happens; noise: largest standard deviation, for values of 0..1; tint: half-width of the factors of each
    channel; grey: share of pictures without colours."""

    blur: float = 0.4
    blurred: float = 0.5
    noise: float = 0.05
    tint: float = 0.2
    grey: float = 0.1


@dataclass(frozen=True, eq=False)
class DenseSet:
    """n pictures. images: uint8[n, s, s, 3]; labels: of the one task, uint8[n, s, s], float16[n, s, s] or
    float16[n, s, s, 3], as its store has them; digests: of the pictures' bytes; identity: of the store."""

    task: Task
    images: Tensor
    labels: npt.NDArray[np.uint8] | npt.NDArray[np.float16]
    digests: tuple[str, ...]
    identity: Identity

    def __len__(self) -> int:
        return len(self.images)

    def targets(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Targets:
        """Of some of the pictures."""
        found = self.labels[rows]
        if self.task is Task.CLASSES:
            return Targets(classes=torch.from_numpy(np.where(found == UNKNOWN_CLASS, NO_CLASS, found.astype(np.int64))))
        values = torch.from_numpy(found.astype(np.float32))
        if self.task is Task.DEPTH:
            return Targets(depth=values)
        return Targets(normals=values.permute(0, 3, 1, 2).contiguous())

    def class_counts(self) -> npt.NDArray[np.int64]:
        """Pixels of each class, int64[classes]."""
        return np.bincount(self.labels.reshape(-1), minlength=256)[: len(self.identity.classes)].astype(np.int64)


def truth_of(task: Task, targets: Targets) -> Tensor:
    """The task's own part of `targets`. Raises `ValueError` if it is not there."""
    truth = {Task.CLASSES: targets.classes, Task.DEPTH: targets.depth, Task.NORMALS: targets.normals}[task]
    if truth is None:
        raise ValueError(f"targets without {task}")
    return truth


def labels_beside(data: Sequence[Path], source: str, store: str) -> LabelStore:
    """The exact labels of a source, wherever in `data` they lie. Raises `ExpertError`."""
    for folder in data:
        found = label_folder(folder, source, store)
        if found.is_dir():
            return LabelStore(found)
    raise ExpertError(f"{label_folder(data[0], source, store)}: no exact labels of {source} here.")


def load_dense_set(data: Sequence[Path], source: str, task: Task, *, progress: bool = False) -> DenseSet:
    """All pictures of a source that have a label of the task, at the size of the labels.

    Raises `DataError` for a source that is not there, `ExpertError` for one without exact labels.
    """
    store = labels_beside(data, source, task.store)
    rows = [row for row in read_rows(list(data), [source]) if row.digest in store]
    if not rows:
        raise ExpertError(f"{store.folder}: has labels of other pictures than those of {source}.")
    side = store.description.size
    seen = Preprocessing(side, "shortest", "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    if seen.geometry != store.description.geometry:
        raise ExpertError(f"{store.folder}: labels of pictures that were cut otherwise than {seen.geometry}.")
    samples = decode_rows(rows, seen, progress=progress)
    kept = np.dtype(np.uint8 if task is Task.CLASSES else np.float16)
    parts = [store.maps(samples.digests[start : start + CHUNK]).astype(kept) for start in range(0, len(samples), CHUNK)]
    images = torch.from_numpy(samples.images)
    return DenseSet(task, images, np.concatenate(parts), samples.digests, store.description.identity)


def draw_batch(
    dense: DenseSet, rows: npt.NDArray[np.int64], strength: Augmentation, look: Look, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """float32[n, 3, s, s] in 0..1 and the truth of the same pixels, changed at random."""
    images, side = dense.images[torch.from_numpy(rows)], dense.images.shape[1]
    moved, targets = augment_densely(images, dense.targets(rows), strength, generator, side)
    return change_look(moved, look, generator), truth_of(dense.task, targets)


def change_look(images: Tensor, look: Look, generator: torch.Generator) -> Tensor:
    """float32[n, 3, s, s] in 0..1, tinted, without colours, blurred and noisy at random."""
    n = len(images)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator)

    images = images * (1 + look.tint * (2 * uniform(3, 1, 1) - 1))
    images = torch.where(uniform(1, 1, 1) < look.grey, images.mean(dim=1, keepdim=True), images)
    blurred = torch.where(uniform(1, 1, 1) < look.blurred, _blur(images, look, generator), images)
    noise = torch.randn(images.shape, generator=generator) * (look.noise * uniform(1, 1, 1))
    return (blurred + noise).clamp_(0, 1)


def _blur(images: Tensor, look: Look, generator: torch.Generator) -> Tensor:
    side = images.shape[-1]
    parts = []
    for part in images.chunk(GROUPS):
        share = look.blur + (1 - look.blur) * float(torch.rand(1, generator=generator))
        small = functional.interpolate(part, size=max(1, round(share * side)), mode="bilinear", antialias=True)
        parts.append(functional.interpolate(small, size=side, mode="bicubic"))
    return torch.cat(parts)
