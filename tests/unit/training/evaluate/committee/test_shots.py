"""The `shots` section from pools to tables and plots, on made-up tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from service.pipeline.controller import pulled as controller_pulled
from service.pipeline.controller.fit import PAPER
from tests.support.committees import leader
from tests.unit.training.evaluate.committee import made_up_pools
from tests.unit.training.evaluate.committee.made_up_pools import task, width_of
from training.evaluate import generic
from training.evaluate.committee import methods, shots
from training.evaluate.committee.aims import AIMS, FIXED, Aim, verdicts
from training.evaluate.committee.reliability import BINS, curve, measure_reliability
from training.evaluate.committee.sections import in_this_process
from training.evaluate.committee.shots import ALONE, TaskOutcomes, learnt, measure_outcomes
from training.evaluate.committee.shots_plots import plot_curves, plot_frontier, plot_reliability, plot_weights
from training.evaluate.committee.shots_report import ALL, SEEN, UNSEEN, ShotsReport, outcomes_at, shots_report
from training.evaluate.committee.shots_tables import reliability_table, shots_table, words

SHOTS, SEEDS = (1, 4), 2


@pytest.fixture(scope="module")
def outcomes() -> tuple[TaskOutcomes, ...]:
    """Three tasks with eight pictures of every class to learn from, and one with none. `expert` knows everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_up_pools, "GFLOPS", (0.1, 0.5, 0.3))
        patch.setattr(generic, "SCHEDULE", replace(generic.SCHEDULE, steps=30))
        patch.setattr(methods, "PAPER", replace(PAPER, steps=60))
        patch.setattr(controller_pulled, "STEPS", 15)
        pools = [task(name, make=leader, seed=seed, fit=8, classes=4) for seed, name in enumerate(("one", "two"))]
        pools.append(replace(task("three", make=leader, seed=2, fit=8, classes=4), novelty="unseen source"))
        bare = task("bare", make=leader, seed=3, classes=4)
        pools.append(replace(bare, fit=bare.fit.take([]), balanced=False))
        return measure_outcomes(pools, in_this_process, shots=(*SHOTS, 32), seeds=SEEDS)


@pytest.fixture(scope="module")
def report(outcomes: tuple[TaskOutcomes, ...]) -> ShotsReport:
    return shots_report(outcomes, SEEDS)


def test_a_task_has_the_shots_that_its_pictures_carry(outcomes: tuple[TaskOutcomes, ...]) -> None:
    assert [sorted(each.learnt) for each in outcomes] == [[1, 4], [1, 4], [1, 4], []]


def test_answers_of_one_backbone_are_its_own(outcomes: tuple[TaskOutcomes, ...]) -> None:
    for each in outcomes:
        test = each.task.test
        for place, name in enumerate(each.task.backbones):
            expected = test.logits[:, place].argmax(axis=1) == test.truth
            np.testing.assert_array_equal(each.zero_shot[ALONE + name].right, expected[None])


def test_the_oracle_is_right_where_anybody_is(outcomes: tuple[TaskOutcomes, ...]) -> None:
    for each in outcomes:
        singles = [found.right for name, found in each.zero_shot.items() if name.startswith(ALONE)]
        np.testing.assert_array_equal(each.zero_shot["oracle"].right, np.any(singles, axis=0))


def test_labels_find_who_knows(outcomes: tuple[TaskOutcomes, ...]) -> None:
    for each in outcomes[:3]:
        found = each.learnt[4].outcomes
        assert found["best_by_labels"].notes == {"expert": SEEDS}
        assert found["best_by_labels"].gflops == 0.5
        shares = found["super_learner"].shares
        assert shares is not None
        assert max(range(3), key=shares.__getitem__) == 1


def test_every_seed_has_answers_of_its_own(outcomes: tuple[TaskOutcomes, ...]) -> None:
    found = outcomes[0].learnt[4].outcomes
    assert {each.right.shape for each in found.values()} == {(SEEDS, 120)}
    assert any((each.right[0] != each.right[1]).any() for each in found.values())


def test_a_unit_gives_the_same_twice(outcomes: tuple[TaskOutcomes, ...]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shots, "LEARNT", {})
        patch.setattr(shots, "OVER_ADAPTERS", {"super_learner": methods.super_learner})
        assert learnt(outcomes[0].task, 2, 0) == learnt(outcomes[0].task, 2, 0)


def test_means_are_over_the_tasks_that_have_the_shots(report: ShotsReport) -> None:
    assert [(row.group, row.shots, len(row.tasks)) for row in report.means] == [
        (ALL, 0, 4),
        (ALL, 1, 3),
        (ALL, 4, 3),
        (SEEN, 0, 3),
        (SEEN, 1, 2),
        (SEEN, 4, 2),
        (UNSEEN, 0, 1),
        (UNSEEN, 1, 1),
        (UNSEEN, 4, 1),
    ]


def test_the_best_fixed_backbone_is_nobody_better_than_itself(report: ShotsReport) -> None:
    row = report.mean(4)
    assert row is not None
    assert row.best_fixed == "expert"
    assert row.methods["best_fixed"].over_fixed.value == 0
    assert row.methods["best_fixed"].over_fixed.error == 0
    singles = [found.accuracy.value for name, found in row.methods.items() if name.startswith(ALONE)]
    assert row.methods["best_fixed"].accuracy.value == max(singles)


def test_a_difference_is_that_of_the_means(report: ShotsReport) -> None:
    for row in report.means:
        for found in row.methods.values():
            apart = found.accuracy.value - row.methods["best_fixed"].accuracy.value
            assert found.over_fixed.value == pytest.approx(apart)


def test_hindsight_is_the_best_of_each_task(outcomes: tuple[TaskOutcomes, ...]) -> None:
    found = outcomes_at(outcomes[0], 4)
    singles = [each.right.mean() for name, each in found.items() if name.startswith(ALONE)]
    assert found["best_in_hindsight"].right.mean() == max(singles)


def test_a_task_that_is_not_balanced_has_balanced_accuracy(outcomes: tuple[TaskOutcomes, ...]) -> None:
    report = shots_report(outcomes[3:], SEEDS)
    truth = outcomes[3].task.test.truth
    right = outcomes[3].zero_shot["mean"].right[0]
    by_class = [right[truth == label].mean() for label in range(4)]
    assert report.tasks[0].zero_shot["mean"].accuracy.value == pytest.approx(np.mean(by_class))
    assert report.shots == ()


def test_aims_are_judged_by_their_own_numbers(report: ShotsReport) -> None:
    row = report.mean(4)
    assert row is not None
    names = ("best_fixed", "ladder")
    differences = {name: 100 * row.methods[name].over_fixed.value for name in names}
    least = max(differences.values())
    aims = [Aim("", 4, names, FIXED, least + apart) for apart in (-0.01, 0.01)]
    found = verdicts(report, aims)
    assert [verdict.reached for verdict in found] == [True, False]
    assert {verdict.method for verdict in found} == {max(names, key=differences.__getitem__)}


def test_what_was_not_measured_is_not_reached(report: ShotsReport) -> None:
    assert [aim.shots for aim in AIMS][-1] == 16
    assert not verdicts(report)[-1].reached, "nothing has 16 shots"


def test_margins_name_the_worst_task(report: ShotsReport) -> None:
    worst = next(each for each in report.margins if (each.method, each.shots) == ("ladder", 4))
    for found in report.tasks[:3]:
        methods_ = found.zero_shot | found.learnt[4].methods
        best = max(methods_[name].accuracy.value for name in ("best_by_labels", "mean", "mean_logit"))
        assert methods_["ladder"].accuracy.value - best >= worst.difference.value - 1e-12


def test_the_report_is_read_again_as_it_was(report: ShotsReport) -> None:
    adapter = TypeAdapter(ShotsReport)
    assert adapter.validate_json(adapter.dump_json(report)) == report


def test_tables_name_every_method_and_task(report: ShotsReport) -> None:
    text = shots_table(report)
    for row in report.means:
        assert all(words(name) in text for name in row.methods)
    assert all(found.source in text for found in report.tasks)
    assert "no task has these shots" in text
    assert "bare (balanced)" in text


def test_plots_are_pictures(report: ShotsReport, tmp_path: Path) -> None:
    for plot in (plot_curves, plot_frontier, plot_weights):
        plot(report, tmp_path / "plot.png")
        assert width_of(tmp_path / "plot.png") > 300
        (tmp_path / "plot.png").unlink()


def test_without_labelled_pictures_there_is_a_frontier_and_nothing_else(
    outcomes: tuple[TaskOutcomes, ...], tmp_path: Path
) -> None:
    bare = shots_report(outcomes[3:], SEEDS)
    plot_curves(bare, tmp_path / "curves.png")
    plot_weights(bare, tmp_path / "weights.png")
    assert not list(tmp_path.iterdir())
    plot_frontier(bare, tmp_path / "frontier.png")
    assert width_of(tmp_path / "frontier.png") > 300
    assert "bare" in shots_table(bare)


def test_no_tasks_are_an_error() -> None:
    with pytest.raises(ValueError, match="no labelled task"):
        shots_report([], SEEDS)


def test_calibration_error_of_who_says_ninety_and_is_right_half_the_time() -> None:
    points = np.stack([np.ones(100), np.full(100, 0.9), np.arange(100) % 2])
    found = curve(points.astype(np.float32))
    assert found.error == pytest.approx(0.4, abs=1e-6)
    assert sum(found.weight) == pytest.approx(1)
    assert len(found.weight) == BINS


def test_temperatures_are_undone_before_and_kept_after(tmp_path: Path) -> None:
    cold = task()
    hot = replace(cold, temperatures=(4.0, 4.0))
    before, after = measure_reliability([hot]), measure_reliability([cold])
    assert before.speakers[0].after == after.speakers[0].after
    assert before.speakers[0].before != before.speakers[0].after
    assert after.speakers[0].before == after.speakers[0].after
    assert [each.speaker for each in after.speakers] == ["left", "right", "mean"]
    assert "`left`" in reliability_table(after)
    plot_reliability(before, tmp_path / "reliability.png")
    assert width_of(tmp_path / "reliability.png") > 300
