"""Parquet files as the readers of the training expect them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.model_config import Preprocessing
from tests.unit.training.data.builders.toy import picture, source
from training.data.builders.write import read_pictures, write_source
from training.data.rows import DataError
from training.data.samples import decode_rows
from training.data.sources import read_rows

pytestmark = pytest.mark.torch

PICTURES = [
    picture(1, concept="cat", label="mammal"),
    picture(2, test=True, concept="dog", label="mammal"),
    replace(picture(3, label=None), extra={"style": "flat"}),
]


def test_written_rows_are_what_the_training_reads(tmp_path: Path) -> None:
    write_source(tmp_path / "toys.parquet", source("toys"), PICTURES)
    rows = list(read_rows(tmp_path, ("toys",)))
    assert [row.image for row in rows] == [one.image for one in PICTURES]
    assert [(row.label, row.test, row.concept, row.broad) for row in rows] == [
        ("mammal", False, "cat", False),
        ("mammal", True, "dog", False),
        (None, False, None, False),
    ]
    assert rows[0].captions == ("thing 1",)
    assert {row.source for row in rows} == {"toys"}


def test_pictures_survive_writing_and_reading(tmp_path: Path) -> None:
    for broad in (False, True):
        write_source(tmp_path / "toys.parquet", source("toys", broad_labels=broad), PICTURES)
        assert read_pictures(tmp_path / "toys.parquet") == PICTURES


def test_a_broad_label_serves_tasks_but_does_not_pair_captions_in_training(tmp_path: Path) -> None:
    write_source(tmp_path / "toys.parquet", source("toys", broad_labels=True), PICTURES)
    rows = list(read_rows(tmp_path, ("toys",)))
    assert [(row.label, row.broad) for row in rows] == [("mammal", True), ("mammal", True), (None, False)]
    samples = decode_rows(rows, Preprocessing(8, "shortest", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    assert samples.labels == (None, None, None)


def test_equal_pictures_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_source(tmp_path / f"{name}.parquet", source("toys"), PICTURES)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_a_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b""]}), tmp_path / "s.parquet")
    with pytest.raises(DataError, match="columns image, not those of a built source"):
        read_pictures(tmp_path / "s.parquet")
