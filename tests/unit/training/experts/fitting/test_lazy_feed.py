"""Batches out of files, against batches out of memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.training.adapters.conftest import small_run as small_run
from tests.unit.training.data.test_lazy_rows import write_shards
from tests.unit.training.data.test_webdataset import write_shard
from tests.unit.training.experts.labelled_data import NAMES, write_labels
from tests.unit.training.tiny_data import picture_bytes
from training.adapters.pairs import pairs_of_samples
from training.data.augment import Augmentation
from training.data.lazy_rows import Texts, choose_rows
from training.data.rows import DataError
from training.data.samples import decode_rows
from training.data.sources import available_sources, read_rows
from training.data.splits import Split
from training.distributed import World
from training.experts.errors import ExpertError
from training.experts.fitting.ahead import batches
from training.experts.fitting.config import FitConfig, FitSchedule
from training.experts.fitting.feed import DenseBatch, PairsFeed
from training.experts.fitting.lazy_feed import LazyFeed, Wording
from training.experts.labels.targets import load_targets, open_labels
from training.experts.protocol import Kind
from training.export.run import load_run

pytestmark = pytest.mark.torch

ROWS = np.array([5, 0, 17, 9, 30, 2])
SPLITS = (Split.TOWER_TRAIN, Split.FIT)


@pytest.fixture(scope="module")
def data(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sources, with shards and labels of two thirds of all pictures beside them."""
    folder = tmp_path_factory.mktemp("lazy")
    for path in small_data.glob("*.parquet"):
        (folder / path.name).write_bytes(path.read_bytes())
    write_shards(folder, shards=2, pictures=20)
    rows = [row for row in read_rows(folder, available_sources(folder)) if int(row.digest, 16) % 3]
    write_labels(rows, folder / "labels")
    return folder


def _lazy(data: Path, run: Path, cache: Path, **changed: Any) -> LazyFeed:
    base = load_run(run)
    rows = choose_rows(data, SPLITS, ("things", "scenes", "web"), cache)
    feed = LazyFeed(rows, base.preprocessing, base.tokenizer, torch.device("cpu"), open_labels([data / "labels"]))
    return replace(feed, **changed)


def _in_memory(data: Path, run: Path, lazy: LazyFeed) -> PairsFeed:
    """The same rows, all decoded, in the same order."""
    base = load_run(run)
    by_key = {row.digest[:32]: row for row in read_rows(data, available_sources(data))}
    rows = [by_key[key.decode()] for key in lazy.rows.digests]
    stores = [store for each in lazy.labels for store in each.stores]
    pairs = pairs_of_samples(decode_rows(rows, base.preprocessing), base.tokenizer, torch.device("cpu"))
    return PairsFeed(pairs, load_targets([row.digest for row in rows], stores), Augmentation())


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one.nan_to_num(-7), other.nan_to_num(-7))


def _equal(one: DenseBatch, other: DenseBatch) -> None:
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.ids[one.own], other.ids[other.own])
    assert torch.equal(one.match, other.match)
    for name in ("classes", "depth", "normals"):
        assert _same(getattr(one.targets, name), getattr(other.targets, name)), name


@pytest.mark.parametrize("side", [64, 48])
def test_batches_are_those_of_a_feed_in_memory(data: Path, small_run: Path, tmp_path: Path, side: int) -> None:
    lazy = _lazy(data, small_run, tmp_path)
    memory = _in_memory(data, small_run, lazy)
    assert len(lazy) == len(memory) > 60
    for step in range(3):
        rows = (ROWS + 7 * step) % len(lazy)
        _equal(*(feed.batch(rows, side=side, seed=4, step=step) for feed in (lazy, memory)))
    lazy.close()


def test_a_batch_follows_from_seed_and_step_alone(data: Path, small_run: Path, tmp_path: Path) -> None:
    feeds = [_lazy(data, small_run, tmp_path, threads=threads) for threads in (1, 5)]
    one, two = (feed.batch(ROWS, side=64, seed=1, step=7) for feed in feeds)
    _equal(one, two)
    assert not torch.equal(one.images, feeds[0].batch(ROWS, side=64, seed=1, step=8).images)


@pytest.mark.parametrize("kind", ["lazy", "in memory"])
def test_parts_of_a_batch_make_the_batch(data: Path, small_run: Path, tmp_path: Path, kind: str) -> None:
    feed: LazyFeed | PairsFeed = _lazy(data, small_run, tmp_path)
    if kind == "in memory":
        feed = _in_memory(data, small_run, feed)  # type: ignore[arg-type]  # it is the lazy one until here
    whole = feed.batch(ROWS, side=64, seed=1, step=2)
    parts = [feed.batch(ROWS, side=64, seed=1, step=2, part=part) for part in (slice(0, 3), slice(3, 6))]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.ids[part.own] for part in parts]), whole.ids[whole.own])
    assert all(torch.equal(part.match, whole.match) for part in parts)
    for name in ("classes", "depth", "normals"):
        assert _same(torch.cat([getattr(part.targets, name) for part in parts]), getattr(whole.targets, name))


def test_a_batch_ahead_changes_nothing(data: Path, small_run: Path, tmp_path: Path) -> None:
    config = FitConfig(backbone="x", sides=(64, 48), schedule=FitSchedule(epochs=1, batch_size=16))
    feed = _lazy(data, small_run, tmp_path)
    plain, prepared = (list(batches(feed, config, 1, World(), ahead=ahead)) for ahead in (False, True))
    assert len(plain) == len(prepared) == len(feed) // 16 - 1
    for one, other in zip(plain, prepared, strict=True):
        _equal(one, other)


def test_pictures_without_labels_have_no_targets(data: Path, small_run: Path, tmp_path: Path) -> None:
    lazy = _lazy(data, small_run, tmp_path)
    labelled = lazy.labelled()
    assert set(labelled) == {"classes", "depth", "normals"}
    assert 0 < labelled["depth"] < len(lazy)
    store = lazy.labels[0].stores[0]
    bare = np.flatnonzero(store.find(lazy.rows.digests) < 0)[:2]
    targets = lazy.batch(bare, side=64, seed=0, step=0).targets
    assert targets.depth is not None
    assert targets.classes is not None
    assert targets.depth.isnan().all()
    assert (targets.classes == -1).all()
    assert len(replace(lazy, labels=()).batch(bare, side=64, seed=0, step=0).targets) == 0


def test_a_broken_picture_is_named_with_its_file(small_run: Path, tmp_path: Path) -> None:
    files = {"a.png": picture_bytes(1), "a.txt": b"one", "b.png": b"no picture", "b.txt": b"two"}
    write_shard(tmp_path / "web.tar", files)
    base = load_run(small_run)
    rows = choose_rows(tmp_path, (Split.TOWER_TRAIN, Split.FIT, Split.CALIBRATE), (), tmp_path / "cache")
    feed = LazyFeed(rows, base.preprocessing, base.tokenizer, torch.device("cpu"))
    with pytest.raises(DataError, match=r"web\.tar: picture [0-9a-f]{12} cannot be decoded"):
        feed.batch(np.array([0, 1]), side=64, seed=0, step=0)
    config = FitConfig(backbone="x", sides=(64,), schedule=FitSchedule(epochs=3, batch_size=2))
    with pytest.raises(DataError, match="cannot be decoded"):  # in a thread, and still heard of
        next(batches(feed, config, 0, World(), ahead=True))


def test_stores_of_one_expert_are_one_set_of_labels(data: Path, tmp_path: Path) -> None:
    rows = list(read_rows(data, ("things",)))
    for number, part in enumerate((rows[:4], rows[2:8])):
        write_labels(part, tmp_path / str(number), [Kind.DEPTH])
    (both,) = open_labels([tmp_path / "0", tmp_path / "1" / "made-depth"])
    digests = [row.digest for row in rows[:9]]
    places = both.find(digests)
    assert (places >= 0).any(axis=1).tolist() == [True] * 8 + [False]
    (again,) = open_labels([tmp_path / "1", tmp_path / "0"])
    assert np.array_equal(both.at(places), again.at(again.find(digests)), equal_nan=True)
    assert np.isnan(both.at(places)[8]).all()


def test_a_class_without_a_name_is_refused(data: Path, tmp_path: Path) -> None:
    rows = list(read_rows(data, ("things",)))[:3]
    write_labels(rows, tmp_path, [Kind.CLASSES], size=16)
    description = tmp_path / "made-classes" / "expert.json"
    description.write_text(description.read_text().replace('"green",', "").replace('"blue"', '"green"'))
    (labels,) = open_labels([tmp_path])
    assert labels.identity.classes == NAMES[:2]
    with pytest.raises(ExpertError, match="a map has class 2; made-classes names 2 classes, from 0 to 1"):
        labels.at(labels.find([row.digest for row in rows]))


def test_a_folder_without_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExpertError, match="no labels here"):
        open_labels([tmp_path])


def test_captions_that_a_mirror_makes_untrue_are_not_shown_where_there_are_others() -> None:
    assert Wording.of(Texts(("A box left of a ball", "A box"), None)).texts == ("a box",)
    assert Wording.of(Texts(("A box left of a ball",), None)).texts == ("a box left of a ball",)
