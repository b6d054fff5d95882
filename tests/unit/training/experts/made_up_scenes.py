"""Small sets of scenes on disk, and networks that learn them in a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from training.data.augment import Augmentation
from training.experts.nets.command import make_config
from training.experts.nets.config import NetConfig, NetSchedule
from training.experts.nets.data import DenseSet, Look
from training.experts.nets.network import NetShape
from training.experts.scene_source import write_scenes

SIDE = 32
COUNT = 12
TINY = NetShape(stem=4, stages=(8, 8, 8, 8), blocks=(1, 1, 1, 1), decoder=(8, 8, 8, 8))
CALM = Augmentation(scale=(1.0, 1.0), shift=0.0, contrast=0.0, brightness=0.0, saturation=0.0, mirror=0.0)
UNTOUCHED = Look(blur=1.0, blurred=0.0, noise=0.0, tint=0.0, grey=0.0)


def draw_scenes(folder: Path) -> Path:
    """`folder` with the source "drawn", of train rows, and "kept", of test rows."""
    folder.mkdir(parents=True, exist_ok=True)
    write_scenes(folder, "drawn", count=COUNT, seed=100, size=SIDE)
    write_scenes(folder, "kept", count=6, seed=900, size=SIDE, test=True)
    return folder


def tiny_config(dense: DenseSet, epochs: int = 2) -> NetConfig:
    """Of a small network without augmentation, in full precision."""
    settings = NetSchedule(epochs=epochs, batch_size=4, warmup_steps=5, checkpoint_steps=2, bf16=False)
    return replace(make_config(dense, "drawn", settings, 0), shape=TINY, augmentation=CALM, look=UNTOUCHED)
