"""What the sections share."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pytest

from service.pipeline.logits import mean_probability
from tests.support.committees import leader
from tests.unit.training.evaluate.committee.made_up_pools import task
from training.evaluate.committee.estimates import Estimate
from training.evaluate.committee.sections import Committee, best_fixed, in_this_process, read_as, shots_of, task_unit


@dataclass(frozen=True)
class Found:
    numbers: tuple[float, ...]
    by_name: dict[str, Estimate]


def work(value: float) -> Found:
    return Found((value, 2.0), {"a": Estimate(value, 0.1)})


def test_a_unit_comes_back_from_json_as_what_it_was() -> None:
    unit = task_unit("section", "1", task(), (3,), partial(work, 0.5))
    assert json.loads(json.dumps(unit.work())) == json.loads(json.dumps(asdict(work(0.5))))
    assert read_as(Found, in_this_process([unit])) == (work(0.5),)
    assert pickle.loads(pickle.dumps(unit)).work() == unit.work()


def test_another_task_or_parameter_or_version_is_another_unit() -> None:
    keys = [
        task_unit("section", "1", task(), (3,), partial(work, 0.5)).key,
        task_unit("section", "1", task(), (4,), partial(work, 0.5)).key,
        task_unit("section", "2", task(), (3,), partial(work, 0.5)).key,
        task_unit("section", "1", task(seed=1), (3,), partial(work, 0.5)).key,
    ]
    assert len(set(keys)) == len(keys)
    assert task_unit("section", "1", task(), (3,), partial(work, 0.5)).key == keys[0]


def test_a_committee_speaks_as_the_gateway_does_for_every_set_of_members() -> None:
    made = task(make=leader)
    committee = Committee(made.backbones, "mean", made.test)
    both = np.exp(committee.combine([2, 0]))
    expected = mean_probability(made.test.logits[:, [0, 2]].transpose(1, 0, 2))
    assert np.allclose(both, expected, atol=1e-6)
    assert committee.combine([0, 2]) is committee.combine([2, 0])
    alone = made.test.logits[:, 1].argmax(axis=1) == made.test.truth
    assert np.array_equal(committee.right([1]), alone)


def test_the_best_fixed_backbone_is_the_expert() -> None:
    made = [task(make=leader, seed=seed) for seed in (0, 1)]
    assert made[0].backbones[best_fixed(made)] == "expert"


@pytest.mark.parametrize(("shots", "images"), [(1, 6), (4, 24), (16, 72)])
def test_shots_are_so_many_of_every_class_or_all_there_are(shots: int, images: int) -> None:
    assert len(shots_of(task(), shots, 0)) == images
