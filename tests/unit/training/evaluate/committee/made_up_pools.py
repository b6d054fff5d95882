"""Small tasks of made-up committees, with pictures that can be decoded."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.committees import SCALE, Committee, specialists
from training.data.rows import Row
from training.evaluate.committee.pools import Dropped, Pool, TaskPools

GFLOPS = (0.1, 0.3)


def picture(seed: int, size: tuple[int, int] = (24, 20)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def row(seed: int, label: str = "cat", size: tuple[int, int] = (24, 20)) -> Row:
    data = picture(seed, size)
    return Row(data, hashlib.sha256(data).hexdigest(), (), label, "made_up", test=True)


def pool(committee: Committee, truth: np.ndarray, first: int) -> Pool:
    embeddings, logits = committee.see(truth)
    rows = tuple(row(first + place, f"class {label}", (4, 4)) for place, label in enumerate(truth))
    return Pool(tuple(embeddings), np.ascontiguousarray(logits.transpose(1, 0, 2)), truth, rows)


def task(
    source: str = "made_up",
    *,
    classes: int = 6,
    fit: int = 12,
    calibrate: int = 40,
    test: int = 120,
    seed: int = 0,
    make: Callable[[int, int], Committee] = specialists,
) -> TaskPools:
    """`fit` images of every class, the others at random; two specialists unless `make` makes others."""
    committee = make(classes, seed)
    labels = np.random.default_rng(seed).integers(0, classes, calibrate + test)
    pools = [
        pool(committee, np.repeat(np.arange(classes), fit), 0),
        pool(committee, labels[:calibrate], 10_000),
        pool(committee, labels[calibrate:], 20_000),
    ]
    return TaskPools(
        source=source,
        picture="photo",
        novelty="seen classes",
        balanced=True,
        backbones=committee.names,
        gflops=GFLOPS[: len(committee.names)],
        trained_on=dict.fromkeys(committee.names, True),
        classes=tuple(f"class {label}" for label in range(classes)),
        class_embeddings=tuple(committee.texts[name] for name in committee.names),
        scales=(SCALE,) * len(committee.names),
        temperatures=(1.0,) * len(committee.names),
        templates=("a {}.",),
        fit=pools[0],
        calibrate=pools[1],
        test=pools[2],
        test_pictures=test,
        dropped=Dropped(0, 0, 0),
    )


def width_of(path: Path) -> int:
    """Of a picture on disk."""
    with Image.open(path) as read:
        return read.width
