"""Retrieval controllers that were never fitted, shipped by repositories made on the spot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from service.pipeline.controller.controller import Controller
from service.pipeline.shipped.files import committee_members
from service.pipeline.shipped.retrieval_file import (
    JudgedController,
    JudgedExit,
    RetrievalAbout,
    RetrievalSource,
    write_retrieval,
)
from service.policies import QueryKind
from service.repository import Zoo

HIDDEN = 4
THRESHOLDS: Mapping[QueryKind, float] = {"text": 0.25, "image": 0.5}

SOURCE = RetrievalSource(
    name="scenes",
    fit_sha256="ab" * 32,
    fit_pictures=30,
    captions=60,
    calibrate_sha256="cd" * 32,
    calibrate_pictures=20,
)
JUDGED = JudgedController(
    rung="nlc",
    strength=0.1,
    examples=60,
    candidates=30,
    accuracy=0.5,
    loss=1.0,
    mean_accuracy=0.375,
    mean_loss=1.25,
    best="large",
    best_accuracy=0.4375,
    best_loss=1.125,
    recall=0.5,
    mean_recall=0.25,
)
EXIT = JudgedExit(lost=0.001, standard_error=0.001, escalated=0.25, gflops_share=0.5)


def controller_of(zoo: Zoo, seed: int = 0) -> Controller:
    """A network of random weights over all backbones of `zoo`, in the order of their names."""
    backbones = sorted(zoo.backbones, key=lambda backbone: backbone.name)
    generator = np.random.default_rng(seed)
    widths = tuple(backbone.embedding_dim for backbone in backbones)

    def random(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return generator.standard_normal(shape, dtype=np.float32)

    return Controller(
        tuple(backbone.name for backbone in backbones),
        widths,
        w1=random(HIDDEN, sum(widths)),
        c1=random(HIDDEN),
        w2=random(len(widths), HIDDEN),
        c2=random(len(widths)),
    )


def controllers_of(zoo: Zoo, seed: int = 0) -> dict[QueryKind, Controller]:
    return {"text": controller_of(zoo, seed), "image": controller_of(zoo, seed + 1)}


def about(zoo: Zoo, **changes: Any) -> RetrievalAbout:
    fields: dict[str, Any] = {
        "seed": 7,
        "committee": committee_members(zoo.backbones),
        "sources": (SOURCE,),
        "controllers": {"text": JUDGED, "image": JUDGED},
        "cascade": {"text": EXIT, "image": EXIT},
    }
    return RetrievalAbout(**fields | changes)


def ship(
    root: Path,
    zoo: Zoo,
    *,
    seed: int = 0,
    prefix: tuple[str, ...] | None = None,
    thresholds: Mapping[QueryKind, float] = THRESHOLDS,
) -> Path:
    """The repository at `root` ships controllers of `zoo`; without `prefix` its cheapest backbone is it."""
    return write_retrieval(root, controllers_of(zoo, seed), prefix or zoo.names[:1], thresholds, about(zoo))
