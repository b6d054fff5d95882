"""Rows in WebDataset shards."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.unit.training.tiny_data import Item, picture_bytes, write_source
from training.data.row_index import read_placed
from training.data.rows import DataError
from training.data.sources import available_sources, read_rows
from training.data.webdataset import read_shard

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


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"captions": "a cat"}, "captions 'a cat' are no list of texts"),
        ({"captions": None}, "captions 'None' are no list of texts"),
        ({"captions": [1]}, "are no list of texts"),
        ({"captions": ["\ud800"]}, "are no list of texts"),
        ({"label": 5}, "label 5 is no text"),
        ({"extra": ["x"]}, "is no JSON object"),
    ],
    ids=["one text", "nothing", "numbers", "half a character", "a number", "a list"],
)
def test_texts_of_another_kind_are_refused_by_name(tmp_path: Path, about: dict[str, object], message: str) -> None:
    write_shard(tmp_path / "pets.tar", {"a.png": b"x", "a.json": json.dumps(about).encode()})
    with pytest.raises(DataError, match=rf"pets\.tar/a: .*{message}"):
        list(read_rows(tmp_path, ("pets",)))
    with pytest.raises(DataError, match=rf"pets\.tar/a: .*{message}"):
        list(read_placed(tmp_path / "pets.tar", "pets"))


def test_two_files_of_one_name_in_a_shard_are_one_sentence(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "pets.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.png"))
    for read in (read_shard, read_placed):
        with pytest.raises(DataError, match=r"pets\.tar: a\.png: duplicate file name"):
            list(read(tmp_path / "pets.tar", "pets"))


def test_a_file_that_claims_more_than_the_shard_holds_is_refused_before_it_is_read(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("a.png")
    entry.size = 1 << 45
    (tmp_path / "pets.tar").write_bytes(entry.tobuf() + bytes(2048))
    with pytest.raises(DataError, match=r"pets\.tar: not a readable tar file"):
        list(read_placed(tmp_path / "pets.tar", "pets"))


def test_links_in_a_shard_lead_nowhere(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "pets.tar", "w") as tar:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.LNKTYPE), ("../c.d.png", tarfile.DIRTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
    assert [list(read(tmp_path / "pets.tar", "pets")) for read in (read_shard, read_placed)] == [[], []]
