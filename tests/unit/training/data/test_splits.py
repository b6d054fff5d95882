"""Splits by image digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.unit.training.tiny_data import Item, write_source
from training.data.sources import available_sources, read_rows
from training.data.splits import CALIBRATE_SHARE, FIT_SHARE, Split, assign_splits, split_of

pytestmark = pytest.mark.torch


def _digests(count: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(count)]


def test_splits_never_share_an_image(small_data: Path) -> None:
    assigned = assign_splits(read_rows(small_data, available_sources(small_data)))
    by_split = {split: {row.digest for row, found in assigned if found is split} for split in Split}
    for split in Split:
        others = set().union(*(by_split[other] for other in Split if other is not split))
        assert not by_split[split] & others
    assert by_split[Split.TOWER_TRAIN]
    assert by_split[Split.TEST]


def test_a_test_image_repeated_in_another_source_is_dropped_from_training(tmp_path: Path) -> None:
    write_source(tmp_path, "first", [Item(1, label="a", split="test"), Item(2, label="a")])
    write_source(tmp_path, "second", [Item(1, label="b"), Item(3, label="b")])
    assigned = assign_splits(read_rows(tmp_path, ("first", "second")))
    assert [(row.source, row.test) for row, _ in assigned] == [("first", True), ("first", False), ("second", False)]


def test_a_reserved_source_trains_no_tower(small_data: Path) -> None:
    assigned = assign_splits(read_rows(small_data, available_sources(small_data)))
    reserved = {split for row, split in assigned if row.source == "clothing"}
    assert Split.TOWER_TRAIN not in reserved
    assert Split.FIT in reserved


def test_an_image_of_a_reserved_source_is_reserved_under_any_source(tmp_path: Path) -> None:
    write_source(tmp_path, "clothing", [Item(i, label="hat") for i in range(30)])
    write_source(tmp_path, "other", [Item(i, label="cap") for i in range(30)])
    assigned = assign_splits(read_rows(tmp_path, ("clothing", "other")))
    assert Split.TOWER_TRAIN not in {split for _, split in assigned}


def test_shares_are_close_to_what_they_are_meant_to_be() -> None:
    splits = [split_of(digest, test=False, reserved=False) for digest in _digests(20_000)]
    assert splits.count(Split.FIT) / 20_000 == pytest.approx(FIT_SHARE, abs=0.01)
    assert splits.count(Split.CALIBRATE) / 20_000 == pytest.approx(CALIBRATE_SHARE, abs=0.01)


def test_the_split_of_an_image_depends_on_nothing_but_its_digest(tmp_path: Path) -> None:
    items = [Item(i, label="a") for i in range(40)]
    write_source(tmp_path, "forwards", items)
    write_source(tmp_path, "backwards", items[::-1])
    forwards = {row.digest: split for row, split in assign_splits(read_rows(tmp_path, ("forwards",)))}
    backwards = {row.digest: split for row, split in assign_splits(read_rows(tmp_path, ("backwards",)))}
    assert forwards == backwards
