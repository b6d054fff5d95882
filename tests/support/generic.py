"""Generic controllers that were never fitted, shipped by repositories made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from service.pipeline.controller.controller import Generic
from service.pipeline.controller.opinions import OPINIONS
from service.pipeline.logits import Floats
from service.pipeline.shipped.generic_file import (
    ARRAYS,
    METADATA_KEY,
    GenericAbout,
    JudgedSource,
    committee_members,
    write_generic,
)
from service.repository import Zoo

JUDGED = JudgedSource(
    name="things",
    rows_sha256="ab" * 32,
    images=40,
    classes=3,
    accuracy=0.625,
    mean_accuracy=0.5,
    loss=1.0,
    mean_loss=1.25,
)


def trusting(strength: float) -> Generic:
    """Adds `strength` times a backbone's own top probability to its t."""
    w1 = np.zeros((1, OPINIONS), dtype=np.float32)
    w1[0, 0] = 1
    return Generic(w1, np.zeros(1, np.float32), np.full((1, 1), strength, np.float32), np.zeros(1, np.float32))


def about(zoo: Zoo, **changes: Any) -> GenericAbout:
    fields: dict[str, Any] = {"seed": 7, "committee": committee_members(zoo.backbones), "sources": (JUDGED,)}
    return GenericAbout(**fields | changes)


def ship(root: Path, zoo: Zoo, strength: float = 3.0) -> Path:
    """The repository at `root` ships a generic controller that was judged with `zoo`."""
    return write_generic(root, trusting(strength), about(zoo))


def metadata_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="numpy") as file:
        return dict(json.loads(file.metadata()[METADATA_KEY]))


def rewrite(path: Path, metadata: dict[str, Any] | None = None, **arrays: Floats | None) -> None:
    """The file at `path` with other metadata, and with `arrays` in place of its own (None: without it)."""
    metadata = metadata_of(path) if metadata is None else metadata
    with safe_open(path, framework="numpy") as file:
        kept = {name: file.get_tensor(name) for name in ARRAYS} | arrays
    found = {name: array for name, array in kept.items() if array is not None}
    save_file(found, path, {METADATA_KEY: json.dumps(metadata)})
