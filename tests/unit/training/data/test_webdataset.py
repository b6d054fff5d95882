"""Rows in WebDataset shards."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.unit.training.tiny_data import Item, picture_bytes, write_source
from training.data.rows import DataError
from training.data.sources import available_sources, read_rows

pytestmark = pytest.mark.torch


def write_shard(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def test_shards_are_read_as_one_source_in_order(tmp_path: Path) -> None:
    about = {"captions": ["a cat", "it sleeps"], "label": "cat", "split": "test", "extra": {"concept": "cat"}}
    write_shard(tmp_path / "pets-000001.tar", {"b.webp": picture_bytes(2), "b.txt": b"a dog\n"})
    write_shard(tmp_path / "pets-000000.tar", {"a.png": picture_bytes(1), "a.json": json.dumps(about).encode()})
    assert available_sources(tmp_path) == ("pets",)
    first, second = read_rows(tmp_path, ("pets",))
    assert (first.image, first.captions, first.label) == (picture_bytes(1), ("a cat", "it sleeps"), "cat")
    assert (first.test, first.concept, first.source) == (True, "cat", "pets")
    assert (second.image, second.captions, second.label, second.test) == (picture_bytes(2), ("a dog",), None, False)


def test_shards_and_parquet_files_lie_side_by_side(tmp_path: Path) -> None:
    write_source(tmp_path, "other", [Item(7, label="cat")])
    write_shard(tmp_path / "pets.tar", {"a.png": picture_bytes(1), "a.txt": b"a cat"})
    assert [row.source for row in read_rows(tmp_path, ("pets", "other"))] == ["pets", "other"]


def test_one_name_for_shards_and_a_parquet_file_is_refused(tmp_path: Path) -> None:
    write_source(tmp_path, "pets", [Item(7, label="cat")])
    write_shard(tmp_path / "pets-0.tar", {"a.png": picture_bytes(1)})
    with pytest.raises(DataError, match=r"pets-0\.tar.*same name"):
        available_sources(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": b"a cat"}, r"pets\.tar/a: no picture among txt"),
        ({"a.png": b"x", "a.json": b"{"}, r"pets\.tar/a: its texts cannot be read"),
        ({"a.png": b"x", "a.json": b"3"}, r"pets\.tar/a: its texts cannot be read"),
        ({"a.png": b"x", "a.json": b'{"split": "validation"}'}, "validation"),
    ],
    ids=["no picture", "no JSON", "no object", "unknown split"],
)
def test_a_sample_that_is_no_row_is_refused_by_name(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    write_shard(tmp_path / "pets.tar", files)
    with pytest.raises(DataError, match=message):
        list(read_rows(tmp_path, ("pets",)))


def test_a_file_that_is_no_tar_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "pets.tar").write_bytes(b"no tar file")
    with pytest.raises(DataError, match=r"pets\.tar: not a readable tar file"):
        list(read_rows(tmp_path, ("pets",)))
