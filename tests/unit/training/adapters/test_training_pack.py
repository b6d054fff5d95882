"""The file that the adapter experiments travel in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.adapters.packed import small_pack
from training.adapters.pack import Pack, load_pack
from training.adapters.packing import make_pack
from training.checkpoint import CheckpointError, load_average
from training.data.rows import DataError
from training.data.samples import load_samples
from training.data.splits import Split
from training.journal import FINAL
from training.models.towers import zoo_preprocessing

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def pack(packed: Path) -> Pack:
    return load_pack(packed)


def test_a_pack_holds_every_split_but_that_of_the_towers(pack: Pack, small_data: Path) -> None:
    preprocessing = zoo_preprocessing("vit-s")
    for split in (Split.FIT, Split.TEST):
        expected = load_samples(small_data, split, ["clothing", "scenes"], preprocessing)
        chosen = [pack.rows[place] for place in pack.chosen(split, ["clothing", "scenes"])]
        assert sorted(row.digest for row in chosen) == sorted(expected.digests)
    assert {row.split for row in pack.rows} <= {"fit", "calibrate", "test"}


def test_pictures_come_back_nearly_as_the_tower_takes_them(pack: Pack, small_data: Path) -> None:
    expected = load_samples(small_data, Split.TEST, ["clothing"], zoo_preprocessing("vit-s"))
    place = dict(zip(expected.digests, expected.images, strict=True))
    found = pack.decoded()
    for row in pack.chosen("test", ["clothing"]).tolist():
        error = np.abs(found[row].astype(int) - place[pack.rows[row].digest].astype(int)).mean()
        assert error < 12  # noise is the hardest picture that there is; another picture is some 60 away


def test_weights_are_the_average_in_half_precision(pack: Pack, small_run: Path) -> None:
    weights, _ = load_average(small_run / FINAL)
    assert pack.weights.keys() == weights.keys()
    assert all(torch.equal(pack.weights[name], value.half()) for name, value in weights.items())


def test_classes_are_those_of_all_splits(pack: Pack) -> None:
    assert pack.classes == {"clothing": ("apple", "bear", "chair")}


def test_equal_data_give_an_equal_pack(pack: Pack, small_run: Path, small_data: Path) -> None:
    again = small_pack(small_run, small_data)
    assert (again.rows, again.pictures) == (pack.rows, pack.pictures)


def test_a_source_that_is_missing_is_named(small_run: Path, small_data: Path) -> None:
    with pytest.raises(DataError, match="mnist"):
        make_pack(small_data, small_run, sources=("mnist",), progress=lambda _: None)


def test_a_folder_without_a_finished_run_is_named(tmp_path: Path, small_data: Path) -> None:
    with pytest.raises(CheckpointError, match="train or restore it first"):
        make_pack(small_data, tmp_path, progress=lambda _: None)


def test_a_missing_pack_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="adapter-pack"):
        load_pack(tmp_path / "pack.safetensors")
