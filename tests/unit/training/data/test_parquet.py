"""Reading rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.training.tiny_data import Item, picture_bytes, write_source
from training.data.rows import DataError
from training.data.sources import available_sources, read_rows

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


def test_several_folders_are_read_as_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, source in ((first, "b"), (second, "a")):
        folder.mkdir()
        write_source(folder, source, [Item(ord(source))])
    assert available_sources([first, second]) == ("a", "b")
    assert [row.source for row in read_rows([first, second], ("b", "a"))] == ["b", "a"]


def test_one_source_in_two_folders_is_refused(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_source(tmp_path / name, "s", [Item(1)])
    with pytest.raises(DataError, match=r"second/s\.parquet.*first/s\.parquet"):
        available_sources([tmp_path / "first", tmp_path / "second"])


def test_an_empty_folder_beside_a_full_one_is_refused(tmp_path: Path) -> None:
    write_source(tmp_path, "s", [Item(1)])
    with pytest.raises(DataError, match="none"):
        available_sources([tmp_path, tmp_path / "none"])


def test_a_concept_is_read_where_the_source_names_one(tmp_path: Path) -> None:
    write_source(tmp_path, "s", [Item(1, concept="cat"), Item(2)])
    assert [row.concept for row in read_rows(tmp_path, ("s",))] == ["cat", None]


def test_an_extra_column_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    write_source(tmp_path, "s", [Item(1)])
    table = pq.read_table(tmp_path / "s.parquet")
    table = table.set_column(table.column_names.index("extra"), "extra", pa.array(["concept"]))
    pq.write_table(table, tmp_path / "s.parquet")
    with pytest.raises(DataError, match="concept"):
        list(read_rows(tmp_path, ("s",)))


def test_a_broad_label_is_marked_where_the_source_says_so(tmp_path: Path) -> None:
    write_source(tmp_path, "s", [Item(1, label="mammal"), Item(2, label="mammal")])
    table = pq.read_table(tmp_path / "s.parquet")
    extra = pa.array(['{"broad_label": true}', "{}"])
    pq.write_table(table.set_column(table.column_names.index("extra"), "extra", extra), tmp_path / "s.parquet")
    assert [row.broad for row in read_rows(tmp_path, ("s",))] == [True, False]


def test_a_truncated_file_is_one_sentence(tmp_path: Path) -> None:
    write_source(tmp_path, "things", [Item(seed, label="cube") for seed in range(40)])
    path = tmp_path / "things.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"things\.parquet: not a Parquet file that can be read"):
        list(read_rows(tmp_path, ("things",)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"image": None}, "a row without a picture"), ({"captions": None}, "captions 'None' are no list of texts")],
)
def test_a_row_with_nothing_where_something_must_be_is_refused(
    tmp_path: Path, changed: dict[str, None], message: str
) -> None:
    row = {"image": b"x", "captions": ["one"], "label": "a", "split": "train", "source": "bare"} | changed
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "bare.parquet")
    with pytest.raises(DataError, match=rf"bare\.parquet: {message}"):
        list(read_rows(tmp_path, ("bare",)))
