"""Labels beside made-up rows: bright is near and leans to the right, and the brightest channel is the class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from service.model_config import Preprocessing
from tests.unit.training.experts.made_up_experts import MadeUpExpert
from training.data.rows import Row
from training.experts.labels.run import LabelSettings, label_rows
from training.experts.protocol import Dense, Identity, Kind, Pictures

NAMES = ("red", "green", "blue")


class NamedExpert(MadeUpExpert):
    """Says what it is and names its classes."""

    @property
    def identity(self) -> Identity:
        names = NAMES if self.kind is Kind.CLASSES else ()
        return replace(super().identity, name=f"made-{self.kind}", classes=names)


def channel(images: Pictures) -> Dense:
    found: Dense = images.argmax(axis=3).astype(np.uint8)
    return found


def distance(images: Pictures) -> Dense:
    depth: Dense = 2 - images.max(axis=3).astype(np.float32) / 255
    depth[:, :1] = np.nan
    return depth


def lean(images: Pictures) -> Dense:
    x = images.max(axis=3).astype(np.float32) / 255 - 0.5
    vectors = np.stack([x, np.zeros_like(x), -np.ones_like(x)], axis=3)
    found: Dense = vectors / np.linalg.norm(vectors, axis=3, keepdims=True)
    return found


ANSWERS = {Kind.CLASSES: channel, Kind.DEPTH: distance, Kind.DISPARITY: distance, Kind.NORMALS: lean}
THREE = (Kind.CLASSES, Kind.DEPTH, Kind.NORMALS)


def write_labels(
    rows: Iterable[Row], folder: Path, kinds: Iterable[Kind] = THREE, *, size: int = 64, mode: str = "shortest"
) -> Path:
    """A store for each kind in `folder`."""
    seen = Preprocessing(size, "squash" if mode == "squash" else "shortest", "bicubic", (0.0,) * 3, (1.0,) * 3)
    kept = list(rows)
    for kind in kinds:
        label_rows(kept, NamedExpert(ANSWERS[kind], kind), folder / f"made-{kind}", LabelSettings(seen, part_images=16))
    return folder
