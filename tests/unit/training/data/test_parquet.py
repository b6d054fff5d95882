"""Reading rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.training.tiny_data import Item, picture_bytes, write_source
from training.data.parquet import DataError, available_sources, read_rows

pytestmark = pytest.mark.torch


def test_a_row_carries_its_image_texts_label_and_digest(tmp_path: Path) -> None:
    write_source(tmp_path, "s", [Item(7, label="cat", captions=("a cat", "it sleeps"), split="test")])
    (row,) = read_rows(tmp_path, ("s",))
    assert row.image == picture_bytes(7)
    assert row.digest == hashlib.sha256(row.image).hexdigest()
    assert (row.label, row.captions, row.test, row.source) == ("cat", ("a cat", "it sleeps"), True, "s")


def test_a_missing_source_is_named_together_with_those_that_exist(tmp_path: Path) -> None:
    write_source(tmp_path, "here", [Item(1)])
    with pytest.raises(DataError, match=r"there\.parquet.*here"):
        list(read_rows(tmp_path, ("there",)))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b""], "label": ["x"]}), tmp_path / "s.parquet")
    with pytest.raises(DataError, match="captions, source, split"):
        list(read_rows(tmp_path, ("s",)))


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    write_source(tmp_path, "s", [Item(1, split="validation")])
    with pytest.raises(DataError, match="validation"):
        list(read_rows(tmp_path, ("s",)))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no"):
        available_sources(tmp_path)
