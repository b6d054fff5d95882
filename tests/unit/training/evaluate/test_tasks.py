"""Tasks made of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.tiny_data import Item, write_source
from training.data.parquet import available_sources, read_rows
from training.data.splits import Split
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
    write_source(tmp_path, "s", [Item(1, label="a", split="test"), Item(2, label="b")])
    (task,) = labelled_tasks(read_rows(tmp_path, ("s",)), Split.TEST)
    assert task.classes == ("a", "b")
    assert task.truth.tolist() == [0]


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
