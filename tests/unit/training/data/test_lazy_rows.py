"""Rows that are read when they are needed, against rows in memory."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.data.test_webdataset import write_shard
from tests.unit.training.tiny_data import Item, picture_bytes, write_source
from training.data.digests import KEY
from training.data.lazy_rows import SPLITS, LazyRows, choose_rows, splits_of
from training.data.row_index import index_sources, read_placed
from training.data.rows import DataError
from training.data.samples import select_rows
from training.data.sources import available_sources, read_rows
from training.data.splits import Split, split_of
from training.data.webdataset import read_shard
from training.distributed import World

pytestmark = pytest.mark.torch


def write_shards(folder: Path, source: str = "web", shards: int = 2, pictures: int = 30) -> None:
    """Shards as web crawls come: a picture, its caption, and a JSON file that says something else."""
    for shard in range(shards):
        files: dict[str, bytes] = {"__notes__": b"nothing"}
        for number in range(pictures):
            key = f"{shard:05d}{number:04d}"
            files[f"{key}.jpg"] = picture_bytes(10_000 + 100 * shard + number)
            files[f"{key}.txt"] = f"Picture {number} of shard {shard}\n".encode()
            files[f"{key}.json"] = json.dumps({"url": "x", "status": "success"}).encode()
        write_shard(folder / f"{source}-{shard:05d}.tar", files)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, a Parquet file, and a reserved source that shares a picture with it."""
    folder = tmp_path_factory.mktemp("mixed")
    write_shards(folder)
    shared = Item(7, label="bear", captions=("a bear",))
    things = [Item(i, label="apple", split="test" if i % 9 == 0 else "train") for i in range(40)]
    write_source(folder, "things", [*things, shared, Item(9, label="apple")])
    write_source(folder, "clothing", [Item(7, label="shirt"), Item(600, label="shirt")])
    return folder


def _rows(folder: Path, cache: Path, *splits: Split, sources: tuple[str, ...] = ()) -> LazyRows:
    return choose_rows(folder, splits or (Split.TOWER_TRAIN,), sources, cache)


@pytest.mark.parametrize("splits", [(Split.TOWER_TRAIN,), (Split.FIT,), (Split.TOWER_TRAIN, Split.FIT), (Split.TEST,)])
@pytest.mark.parametrize("sources", [("web",), ("things", "web"), ("clothing",)])
def test_the_same_rows_are_chosen_as_in_memory(
    mixed: Path, tmp_path: Path, splits: tuple[Split, ...], sources: tuple[str, ...]
) -> None:
    read = list(read_rows(mixed, available_sources(mixed)))
    expected = {row.digest: row for split in splits for row in select_rows(read, split, sources)}
    if not expected:
        with pytest.raises(DataError, match="no row with a text in split"):
            _rows(mixed, tmp_path, *splits, sources=sources)
        return
    found = _rows(mixed, tmp_path, *splits, sources=sources)
    pictures = [found.picture(number) for number in range(len(found))]
    assert {hashlib.sha256(each).hexdigest() for each in pictures} == set(expected)
    for number, picture in enumerate(pictures):
        row, said = expected[hashlib.sha256(picture).hexdigest()], found.texts(number)
        assert found.digests[number].decode() == row.digest[:32]
        assert (said.captions, said.label) == (row.captions, row.label)


def test_many_images_are_split_as_one_is() -> None:
    digests = [hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(3000)]
    digests += ["147ae147ae147ae1" + "0" * 48, "147ae147ae147ae2" + "0" * 48, "f" * 64, "0" * 64]
    test, reserved = np.arange(len(digests)) % 7 == 0, np.arange(len(digests)) % 5 == 0
    found = splits_of(np.array(digests, KEY), test=test, reserved=reserved)
    expected = [split_of(d, test=bool(t), reserved=bool(r)) for d, t, r in zip(digests, test, reserved, strict=True)]
    assert [SPLITS[place] for place in found] == expected


def test_pictures_in_shards_know_where_they_lie(mixed: Path) -> None:
    path = mixed / "web-00001.tar"
    placed = list(read_placed(path, "web"))
    assert placed == list(read_shard(path, "web"))
    for row in placed:
        start = row.image.start  # type: ignore[attr-defined]  # a row says bytes, and these are more
        assert path.read_bytes()[start : start + len(row.image)] == row.image


def test_an_index_is_made_once_and_anew_for_a_file_that_has_changed(tmp_path: Path) -> None:
    write_shards(tmp_path, shards=1)
    cache = tmp_path / "cache"
    (first,) = index_sources(tmp_path, ("web",), cache)
    made = first.index.stat().st_mtime_ns
    assert index_sources(tmp_path, ("web",), cache) == (first,)
    assert first.index.stat().st_mtime_ns == made
    write_shards(tmp_path, shards=1, pictures=31)
    (second,) = index_sources(tmp_path, ("web",), cache)
    assert second.index != first.index
    with second.opened() as index:
        assert index.num_rows == 31


def test_processes_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "wait", lambda _: None)
    write_shards(tmp_path, shards=3)
    made = []
    for rank in range(2):
        files = index_sources(tmp_path, ("web",), tmp_path / "cache", world=World(rank, 2))
        made.append([each.index.exists() for each in files])
    assert made == [[True, False, True], [True, True, True]]


def test_pictures_without_any_text_are_left_out(tmp_path: Path) -> None:
    write_shard(tmp_path / "web.tar", {"a.png": picture_bytes(1), "b.png": picture_bytes(2), "b.txt": b"a cat"})
    found = _rows(tmp_path, tmp_path / "cache", Split.TOWER_TRAIN, Split.FIT, Split.CALIBRATE)
    assert [found.texts(number).captions for number in range(len(found))] == [("a cat",)]


def test_rows_are_left_out_by_digest(mixed: Path, tmp_path: Path) -> None:
    rows = _rows(mixed, tmp_path, sources=("web", "things"))
    left = rows.without(rows.digests[:3])
    assert len(left) == len(rows) - 3
    assert left.picture(0) == rows.picture(3)
    assert left.sources == ("things", "web")


def test_an_unknown_source_is_named_with_those_there_are(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match='no source "cc3m" here; there are clothing, things, web'):
        _rows(mixed, tmp_path, sources=("cc3m",))


def test_a_file_that_was_cut_after_it_was_indexed_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, shards=1)
    rows = _rows(tmp_path, tmp_path / "cache")
    with (tmp_path / "web-00000.tar").open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(DataError, match=r"web-00000\.tar: ends before the picture"):
        rows.picture(len(rows) - 1)
    (tmp_path / "web-00000.tar").unlink()
    with pytest.raises(DataError, match=r"web-00000\.tar: cannot be read"):
        rows.picture(0)


def test_a_damaged_index_or_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, shards=1)
    (file,) = index_sources(tmp_path, ("web",), tmp_path / "cache")
    file.index.write_bytes(b"ARROW1 and nothing")
    with pytest.raises(DataError, match="not an index of rows; remove it"):
        _rows(tmp_path, tmp_path / "cache")
    (tmp_path / "web-00000.tar").write_bytes(b"no tar file")
    with pytest.raises(DataError, match=r"web-00000\.tar: not a readable tar file"):
        _rows(tmp_path, tmp_path / "cache")
    with tarfile.open(tmp_path / "web-00000.tar", "w"):
        pass
    with pytest.raises(DataError, match="no row with a text"):
        _rows(tmp_path, tmp_path / "cache")


def test_a_file_that_was_changed_after_it_was_indexed_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, shards=1)
    rows = _rows(tmp_path, tmp_path / "cache")
    path = tmp_path / "web-00000.tar"
    path.write_bytes(bytes(len(path.read_bytes())))
    with pytest.raises(DataError, match=r"web-00000\.tar: has another picture at \d+; it has changed since"):
        rows.picture(0)
