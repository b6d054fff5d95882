"""Means over tasks, and what choosing is worth."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.aggregate import Measured, choice, mean_difference, mean_score
from training.evaluate.statistics import resamples

pytestmark = pytest.mark.torch


def _task(name: str, skills: dict[str, float], n: int = 400) -> Measured:
    rng = np.random.default_rng(len(name))
    values = {member: (rng.random(n) < skill).astype(float) for member, skill in skills.items()}
    return Measured.of(name, values, resamples(n, name=name), None)


def test_specialists_are_worth_choosing_between() -> None:
    tasks = [_task("x", {"a": 0.9, "b": 0.3, "c": 0.2}), _task("yy", {"a": 0.3, "b": 0.8, "c": 0.2})]
    found = choice(tasks, ["a", "b", "c"])
    assert found.best_fixed == "a"
    assert found.best_on == {"a": ("x",), "b": ("yy",), "c": ()}
    assert found.clearly_best_on == found.best_on
    assert found.per_task.value == pytest.approx((tasks[0].points(["a"])[0] + tasks[1].points(["b"])[0]) / 2)
    assert found.gap.value == pytest.approx(found.per_task.value - found.fixed.value)
    assert found.gap.low <= found.gap.value <= found.gap.high
    assert found.honest_gap == pytest.approx(found.gap.value, abs=0.02)


def test_between_equals_hindsight_finds_a_gap_that_the_other_half_does_not() -> None:
    gaps, honest = [], []
    for world in range(8):
        tasks = [_task("t" * (20 * world + i), {"a": 0.5, "b": 0.5, "c": 0.5}, n=100) for i in range(1, 13)]
        found = choice(tasks, ["a", "b", "c"])
        gaps.append(found.gap.value)
        honest.append(found.honest_gap)
        assert sum(map(len, found.clearly_best_on.values())) <= 3
    assert min(gaps) > 0.01
    assert abs(np.mean(honest)) < np.mean(gaps) / 4


def test_one_backbone_is_its_own_best() -> None:
    found = choice([_task("x", {"a": 0.5})], ["a"])
    assert found.gap.value == found.honest_gap == 0
    assert found.best_on == {"a": ("x",)}


def test_the_order_of_backbones_does_not_matter() -> None:
    tasks = [_task("x", {"a": 0.5, "b": 0.5}), _task("yy", {"b": 0.4, "a": 0.6})]
    assert choice(tasks, ["a", "b"]) == choice(tasks, ["b", "a"])


def test_every_task_counts_the_same_whatever_its_size() -> None:
    tasks = [_task("x", {"a": 1.0}, n=1000), _task("yy", {"a": 0.0}, n=10)]
    assert mean_score(tasks, "a").value == pytest.approx(0.5)


def test_a_difference_is_taken_on_the_same_resamples() -> None:
    values = _task("x", {"a": 0.5}).values["a"]
    task = Measured.of("x", {"a": values, "b": values}, resamples(len(values)), None)
    difference = mean_difference([task], "a", "b")
    assert (difference.low, difference.value, difference.high) == (0, 0, 0)


def test_halves_of_a_balanced_task_count_classes_alike() -> None:
    truth = np.repeat([0, 1], [90, 10])
    task = Measured.of("x", {"a": (truth == 0).astype(float)}, resamples(100, truth, name="x"), truth)
    halves = task.halves(["a"])
    assert halves.shape[1:] == (2, 1)
    assert halves.mean() == pytest.approx(0.5, abs=0.03)
