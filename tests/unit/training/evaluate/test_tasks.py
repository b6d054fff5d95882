"""Tasks made of rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.tiny_data import Item, picture_bytes, write_source
from training.data.sources import available_sources, read_rows
from training.data.splits import Split, split_of
from training.evaluate.tasks import labelled_tasks, retrieval_sets

pytestmark = pytest.mark.torch


def test_labelled_sources_become_tasks_marked_by_novelty(small_data: Path) -> None:
    tasks = labelled_tasks(read_rows(small_data, available_sources(small_data)), Split.TEST)
    assert {task.source: task.novelty for task in tasks} == {
        "clothing": "unseen source",
        "objects": "seen classes",
        "things": "seen classes",
    }
    for task in tasks:
        assert all(row.test for row in task.rows)
        assert [task.classes[i] for i in task.truth] == [row.label for row in task.rows]


def test_classes_without_a_test_image_are_still_candidates(tmp_path: Path) -> None:
    write_source(
        tmp_path,
        "s",
        [Item(1, label="a", split="test"), Item(_seeds(Split.TOWER_TRAIN)[0], label="a"), Item(2, label="b")],
    )
    (task,) = labelled_tasks(read_rows(tmp_path, ("s",)), Split.TEST)
    assert task.classes == ("a", "b")
    assert task.truth.tolist() == [0]


def _novelty(folder: Path, *items: Item, source: str = "s") -> tuple[str, tuple[str, ...]]:
    write_source(folder, source, items)
    (task,) = labelled_tasks(read_rows(folder, (source,)), Split.TEST)
    return task.novelty, task.classes


def _seeds(split: Split) -> list[int]:
    """Pictures that fall into a split."""
    digests = {seed: hashlib.sha256(picture_bytes(seed)).hexdigest() for seed in range(2, 100)}
    return [seed for seed, digest in digests.items() if split_of(digest, test=False, reserved=False) is split]


def test_classes_of_which_training_shows_nothing_are_unseen_and_asked_about_alone(tmp_path: Path) -> None:
    items = [Item(1, label="owl", split="test"), Item(2, label="fox", split="test"), Item(3, label="cat")]
    assert _novelty(tmp_path, *items) == ("unseen classes", ("fox", "owl"))


def test_a_class_that_is_only_fitted_on_is_unseen_by_towers(tmp_path: Path) -> None:
    items = [Item(1, label="owl", split="test"), Item(_seeds(Split.FIT)[0], label="owl")]
    assert _novelty(tmp_path, *items) == ("unseen classes", ("owl",))


def test_concepts_that_are_held_out_are_unseen_though_their_class_is_not(tmp_path: Path) -> None:
    first, second, *_ = _seeds(Split.TOWER_TRAIN)
    items = [
        Item(1, label="bird", concept="owl", split="test"),
        Item(first, label="bird", concept="crow"),
        Item(second, label="fish", concept="cod"),
    ]
    assert _novelty(tmp_path, *items) == ("unseen concepts", ("bird", "fish"))


def test_a_concept_on_both_sides_of_the_split_is_no_novelty(tmp_path: Path) -> None:
    items = [
        Item(1, label="bird", concept="owl", split="test"),
        Item(_seeds(Split.TOWER_TRAIN)[0], label="bird", concept="owl"),
    ]
    assert _novelty(tmp_path, *items)[0] == "seen classes"


def test_a_reserved_source_is_unseen_whatever_it_shows(tmp_path: Path) -> None:
    items = [Item(1, label="coat", split="test"), Item(2, label="coat")]
    assert _novelty(tmp_path, *items, source="clothing")[0] == "unseen source"


def test_a_source_with_labels_is_no_retrieval_set(tmp_path: Path) -> None:
    write_source(tmp_path, "s", [Item(1, captions=("x",), split="test"), Item(2, label="cat")])
    assert retrieval_sets(read_rows(tmp_path, ("s",)), Split.TEST) == ()


def test_an_uneven_test_split_is_not_balanced(tmp_path: Path) -> None:
    labels = ["a"] * 5 + ["b"]
    write_source(tmp_path, "s", [Item(i, label=label, split="test") for i, label in enumerate(labels)])
    (task,) = labelled_tasks(read_rows(tmp_path, ("s",)), Split.TEST)
    assert not task.balanced


def test_captioned_sources_become_retrieval_sets(small_data: Path) -> None:
    (pairs,) = retrieval_sets(read_rows(small_data, available_sources(small_data)), Split.TEST)
    assert pairs.source == "scenes"
    assert len(pairs.captions) == 2 * len(pairs.rows)
    assert np.array_equal(pairs.owner, np.repeat(np.arange(len(pairs.rows)), 2))
