"""The experts that come with the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.experts.known import SCENE_EXPERTS, load_expert
from training.experts.nets.experts import NAMES
from training.experts.nets.tasks import Task
from training.experts.nets.trained import accuracy_table, read_accuracy
from training.experts.protocol import check_maps

pytestmark = pytest.mark.torch

SMALLER_IS_BETTER = ("absolute relative error", "scale-shift invariant error", "mean angle in degrees")


@pytest.mark.parametrize("name", SCENE_EXPERTS)
def test_one_is_there_without_any_training(name: str) -> None:
    expert = load_expert(name)
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    check_maps(expert(images), images, expert.identity)


@pytest.mark.parametrize("name", SCENE_EXPERTS)
def test_its_accuracy_was_measured_on_these_weights(name: str) -> None:
    table, identity = read_accuracy(NAMES[name]), load_expert(name).identity
    assert (table["expert_name"], table["expert_digest"]) == (name, identity.digest)
    assert table["held_out"] == "scenes_experts_test"


@pytest.mark.parametrize("task", list(Task))
def test_it_is_better_than_an_answer_that_knows_no_picture(task: Task) -> None:
    table = read_accuracy(task)
    for measure, value in table["expert"].items():
        blind = table["baseline"][measure]
        assert value < blind if measure in SMALLER_IS_BETTER else value > blind, measure


def test_the_document_tells_how_good_they_are() -> None:
    assert accuracy_table() in Path("docs/experts.md").read_text(encoding="utf-8")
