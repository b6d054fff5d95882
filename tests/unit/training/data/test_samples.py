"""Decoding samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.model_config import Preprocessing
from tests.unit.training.tiny_data import Item, write_source
from training.data.rows import DataError
from training.data.samples import decode_rows, load_samples
from training.data.sources import available_sources, read_rows
from training.data.splits import Split

pytestmark = pytest.mark.torch

EIGHT = Preprocessing(8, "shortest", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_samples_of_a_split_come_from_the_named_sources_only(small_data: Path) -> None:
    samples = load_samples(small_data, Split.TOWER_TRAIN, ("things", "scenes"), EIGHT)
    assert set(samples.sources) == {"things", "scenes"}
    assert samples.images.shape == (len(samples), 8, 8, 3)
    assert samples.images.dtype == np.uint8


def test_a_source_can_be_picked_out_in_order(small_data: Path) -> None:
    samples = load_samples(small_data, Split.TOWER_TRAIN, ("things", "scenes"), EIGHT)
    things = samples.of_source("things")
    assert things.digests == tuple(
        digest for digest, source in zip(samples.digests, samples.sources, strict=True) if source == "things"
    )
    assert len(things.images) == len(things.labels)


def test_a_reserved_source_has_nothing_to_train_on(small_data: Path) -> None:
    with pytest.raises(DataError, match="tower-train"):
        load_samples(small_data, Split.TOWER_TRAIN, ("clothing",), EIGHT)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    write_source(tmp_path, "s", [Item(1)])
    (row,) = read_rows(tmp_path, available_sources(tmp_path))
    with pytest.raises(DataError, match=row.digest[:12]):
        decode_rows([replace(row, image=row.image[:100])], EIGHT)
