"""Tiny Parquet files of the shape that the readers expect."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


@dataclass(frozen=True)
class Item:
    """One row to be written; equal seeds give equal pictures."""

    seed: int
    label: str | None = None
    captions: tuple[str, ...] = ()
    split: str = "train"
    concept: str | None = None
    size: tuple[int, int] = (20, 16)


def picture_bytes(seed: int, size: tuple[int, int] = (20, 16)) -> bytes:
    """A PNG of random pixels, `size` being (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_source(folder: Path, source: str, items: Sequence[Item]) -> None:
    """`<folder>/<source>.parquet`."""
    columns = {
        "image": [picture_bytes(item.seed, item.size) for item in items],
        "captions": [list(item.captions or (f"a photo of a {item.label}",)) for item in items],
        "label": pa.array([item.label for item in items], pa.string()),
        "split": [item.split for item in items],
        "source": [source] * len(items),
        "extra": [json.dumps({} if item.concept is None else {"concept": item.concept}) for item in items],
    }
    pq.write_table(pa.table(columns), folder / f"{source}.parquet")


def write_small_data(folder: Path) -> Path:
    """Two labelled sources that train, one with captions, one reserved; a few test rows in each."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ("apple", "bear", "chair")

    def labelled(start: int, count: int) -> list[Item]:
        return [Item(start + i, label=words[i % 3], split="test" if i % 5 == 0 else "train") for i in range(count)]

    write_source(folder, "things", labelled(0, 60))
    write_source(folder, "objects", labelled(100, 40))
    write_source(folder, "clothing", labelled(200, 30))
    captioned = [
        Item(300 + i, captions=(f"dog number {i} runs", f"an animal, {i}"), split="test" if i % 5 == 0 else "train")
        for i in range(30)
    ]
    write_source(folder, "scenes", captioned)
    return folder
