"""The generic controller, and its judgement by sources that it never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import training.evaluate.generic as generic_module
from service.pipeline.controller.controller import static_controller, weigh
from service.pipeline.logits import Floats, unit_rows
from training.evaluate.generic import (
    FEWEST_CLASSES,
    SUBSETS,
    GenericReport,
    Judged,
    Source,
    fit_generic,
    judge_generic,
    label_set_tasks,
)

pytestmark = pytest.mark.torch

WIDTH = 16


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generic_module, "SCHEDULE", replace(generic_module.SCHEDULE, steps=600))


def source(name: str, expert: int, seed: int, *, classes: int = 12, images: int = 1000) -> Source:
    """Of three backbones `expert` knows the classes, and shows it by being sure; the others guess."""
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> Floats:
        return generator.standard_normal(shape, dtype=np.float32)

    truth = generator.integers(0, classes, images)
    texts = tuple(unit_rows(normal(classes, WIDTH)) for _ in range(3))
    embeddings = tuple(
        unit_rows(normal(images, WIDTH) / 4 + np.float32(place == expert) * texts[place][truth]) for place in range(3)
    )
    return Source(name, embeddings, texts, (12.0, 12.0, 12.0), truth)


def three_sources() -> list[Source]:
    return [source(f"source-{expert}", expert, expert) for expert in range(3)]


def test_trust_in_whoever_is_sure_carries_over_to_an_expert_never_met() -> None:
    """In each fold the backbone that knows the judged source knew nothing of those that were fitted on."""
    report = judge_generic(three_sources(), 0)
    assert report.ships
    assert [each.source for each in report.judged] == ["source-0", "source-1", "source-2"]
    assert report.accuracy_gain > 0.02
    assert report.loss_gain > 0.02


def test_what_was_fitted_prefers_the_sure_to_the_unsure() -> None:
    generic = fit_generic(three_sources(), 0)
    judged = source("new", 1, 9)
    names = ("a", "b", "c")
    logits = judged.logits(np.arange(1000), judged.class_embeddings).transpose(1, 0, 2)
    controller = static_controller(names, [WIDTH] * 3, generic=generic)
    weights = weigh(controller, names, judged.embeddings, logits).mean(axis=1)
    assert weights.argmax() == 1


def test_the_same_seed_gives_the_same_controller() -> None:
    once, again, other = (fit_generic(three_sources(), seed).w1 for seed in (0, 0, 1))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_two_sources_are_too_few_to_judge_by() -> None:
    with pytest.raises(ValueError, match="at least three"):
        judge_generic(three_sources()[:2], 0)


def judged(accuracy: float, loss: float) -> Judged:
    return Judged("x", 10, accuracy=accuracy, mean_accuracy=0.5, loss=loss, mean_loss=1.0)


@pytest.mark.parametrize(
    ("results", "ships"),
    [
        ([judged(0.6, 0.9), judged(0.45, 0.95)], True),
        ([judged(0.5, 0.9)], False),
        ([judged(0.6, 1.1)], False),
        ([judged(0.52, 0.9), judged(0.4, 0.9)], False),
    ],
)
def test_it_ships_only_if_it_beats_the_probability_mean_by_both_measures(results: list[Judged], ships: bool) -> None:
    assert GenericReport(tuple(results)).ships == ships


def test_label_sets_are_sources_parts_of_them_and_pairs() -> None:
    sources = [*three_sources(), source("small", 0, 5, classes=FEWEST_CLASSES)]
    tasks = list(label_set_tasks(sources, np.random.default_rng(0)))
    assert len(tasks) == 4 + 3 * SUBSETS + 6
    for task in tasks:
        images, backbones, classes = task.logits.shape
        assert backbones == 3
        assert len(task.truth) == images == len(task.opinions.own)
        assert task.truth.min() >= 0
        assert task.truth.max() < classes
    assert {task.logits.shape[2] for task in tasks[-6:]} == {24, 17}
    parts = [task.logits.shape[2] for task in tasks[1 : 1 + SUBSETS]]
    assert all(FEWEST_CLASSES <= size <= 12 for size in parts)


def test_the_truth_of_a_part_names_its_own_classes() -> None:
    """The expert is right about nearly everything, in whatever label set its classes are."""
    one, other = source("one", 1, 1), source("other", 1, 2)
    for task in label_set_tasks([one, other], np.random.default_rng(0)):
        assert (task.logits[:, 1].argmax(axis=1) == task.truth).mean() > 0.6
