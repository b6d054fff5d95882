"""The cascade's section: trials, their report, its table and its picture."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from tests.support.committees import Committee
from tests.unit.training.evaluate.committee.made_up_pools import task, width_of
from training.evaluate.committee import cascade_trials
from training.evaluate.committee.cascade import CascadeReport, cascade_table, chosen, measure_cascade
from training.evaluate.committee.cascade_plots import plot_cascade
from training.evaluate.committee.cascade_trials import Possible, calibration_pool, possible, trials
from training.evaluate.committee.pools import TaskPools
from training.evaluate.committee.sections import in_this_process


def pair(classes: int, seed: int) -> Committee:
    """The second sees a little more than the first, and both see much."""
    return Committee({"cheap": (1.3, 1.0), "dear": (1.5, 1.5)}, classes, seed)


def weak(classes: int, seed: int) -> Committee:
    """The same, and they see hardly anything."""
    return Committee({"cheap": (0.1, 0.1), "dear": (0.15, 0.15)}, classes, seed)


def easy(source: str = "easy", **sizes: int) -> TaskPools:
    """Without shots unless `fit` is given: the ladder takes seconds."""
    return task(source, make=pair, **{"classes": 4, "fit": 0, "calibrate": 300, "test": 300, **sizes})


@pytest.fixture(scope="module")
def report() -> CascadeReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cascade_trials, "IMAGES", 300)
        return measure_cascade(
            [easy(), task("hard", fit=0, calibrate=300, test=300, make=weak)], in_this_process, count=6
        )


def test_the_promise_is_about_the_whole_pool(report: CascadeReport) -> None:
    for each in report.trials:
        assert all(round(share * 600) == pytest.approx(share * 600) for share in each.disagreements)
        assert sum(each.exits) == pytest.approx(1)
        assert min(report.gflops) <= each.gflops <= sum(report.gflops) + 1e-9


def test_an_easy_task_is_cheap_and_its_accuracy_hardly_moves(report: CascadeReport) -> None:
    (found,) = [each for each in report.at(0.05) if each.source == "easy"]
    assert found.gflops < 0.8 * sum(report.gflops)
    assert abs(found.accuracy - report.task("easy").accuracy_full) <= max(found.disagreements)


def test_calibrations_are_shared_among_the_tasks(report: CascadeReport) -> None:
    for epsilon in report.epsilons:
        assert [len(each.disagreements) for each in report.at(epsilon)] == [3, 3]
    assert report.broken(0.02)[1] == 6


def test_a_promise_that_is_not_kept_is_counted(report: CascadeReport) -> None:
    bad = tuple(replace(each, disagreements=(0.9, 0.0, 0.9)) for each in report.trials)
    broken = replace(report, trials=bad)
    assert broken.broken(0.02) == (4, 6)
    assert "**broken**" in cascade_table(broken)
    assert "**broken**" not in cascade_table(
        replace(report, trials=tuple(replace(t, disagreements=(0.0,)) for t in bad))
    )


def test_the_report_comes_back_from_json(report: CascadeReport) -> None:
    assert TypeAdapter(CascadeReport).validate_json(json.dumps(asdict(report))) == report


def test_the_table_has_a_line_for_every_task_and_the_aim(report: CascadeReport) -> None:
    text = cascade_table(report)
    assert text.count("| easy ✓ |") == 3
    assert "aim: at most 45%" in text
    assert "on the whole" in text


def test_the_picture_is_a_picture(report: CascadeReport, tmp_path: Path) -> None:
    plot_cascade(report, tmp_path / "cascade.png")
    assert width_of(tmp_path / "cascade.png") > 600
    plot_cascade(replace(report, trials=()), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_the_same_calibrations_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade_trials, "IMAGES", 120)
    assert trials(easy(), 0.05, 2) == trials(easy(), 0.05, 2)


def test_too_few_images_let_nobody_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade_trials, "IMAGES", 50)
    found = trials(easy(), 0.02, 2)
    assert found.idle == 2
    assert found.disagreements == (0.0, 0.0)
    assert found.exits == (0.0, 1.0)
    assert found.gflops == pytest.approx(0.4)


def test_without_end_of_images_more_errors_cost_less() -> None:
    found = possible(easy())
    assert list(found.gflops) == sorted(found.gflops, reverse=True)
    assert found.agreement[-1] == 1.0
    assert found.usually_right
    assert 0.5 < found.agreement[0] < 1


def test_the_ladder_speaks_where_there_are_shots_and_the_mean_elsewhere() -> None:
    assert possible(task(classes=10, fit=8, calibrate=10, test=40)).voice == "nlc"
    assert possible(easy(calibrate=10, test=40)).voice == "mean"


def test_the_pool_is_calibrate_and_test_together() -> None:
    made = easy(calibrate=40, test=60)
    found = calibration_pool(made)
    assert len(found) == 100
    assert np.array_equal(found.logits[40:], made.test.logits)
    assert [row.digest for row in found.rows[:40]] == [row.digest for row in made.calibrate.rows]


def test_tasks_where_the_committee_is_usually_wrong_only_fill_up() -> None:
    base = possible(easy())

    def with_(source: str, accuracy: float, pool: int = 900) -> Possible:
        return replace(base, source=source, accuracy_full=accuracy, pool=pool)

    right = [with_(name, 0.6) for name in "abcd"]
    assert chosen([*right, with_("e", 0.4)]) == ("a", "b", "c", "d")
    assert chosen([right[0], with_("e", 0.4), with_("f", 0.2), with_("g", 0.1)]) == ("a", "e", "f")
    assert chosen([right[0], with_("small", 0.9, pool=100)]) == ("a",)
    assert chosen([]) == ()
