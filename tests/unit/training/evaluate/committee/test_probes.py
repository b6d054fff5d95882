"""Weights over linear probes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from tests.support.committees import leader
from tests.unit.training.evaluate.committee.made_up_pools import task, width_of
from training.evaluate.committee import probes
from training.evaluate.committee.probes import (
    CHOSEN,
    METHODS,
    NLC,
    ORACLE,
    ZERO_SHOT,
    ProbeReport,
    measure_probes,
    probes_table,
    split,
)
from training.evaluate.committee.probes_plots import plot_probes
from training.evaluate.committee.sections import in_this_process


@pytest.fixture(scope="module")
def report() -> ProbeReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "SEEDS", (0,))
        pools = [task("blind spots", fit=40), task("one expert", fit=40, make=leader), task("few", fit=3)]
        return measure_probes(pools, in_this_process)


def test_probes_and_weights_share_no_image() -> None:
    first, second = split(task(fit=20), 0)
    digests = [{row.digest for row in part.rows} for part in (first, second)]
    assert (len(first), len(second)) == (108, 12)
    assert not digests[0] & digests[1]
    assert {row.digest for row in split(task(fit=20), 1)[1].rows} != digests[1]


def test_a_task_with_too_few_labels_is_named_and_left_out(report: ProbeReport) -> None:
    assert report.left_out == ("few",)
    assert [each.source for each in report.tasks] == ["blind spots", "one expert"]


def test_the_expert_is_chosen_and_nobody_beats_the_oracle(report: ProbeReport) -> None:
    expert = report.tasks[1]
    assert expert.methods[CHOSEN] == expert.probes["expert"] == expert.hindsight
    for each in report.tasks:
        assert all(each.methods[ORACLE].value >= score.value for score in each.probes.values())


def test_weights_per_image_beat_one_probe_where_each_is_blind_to_half(report: ProbeReport) -> None:
    assert report.tasks[0].gain[NLC].low > 0


def test_every_method_is_there_and_gains_are_differences(report: ProbeReport) -> None:
    for each in report.tasks:
        assert set(each.methods) == set(METHODS)
        for name, gain in each.gain.items():
            assert gain.value == pytest.approx(each.methods[name].value - each.methods[CHOSEN].value)
        assert each.methods[ZERO_SHOT].value > 0.2


def test_report_table_and_picture(report: ProbeReport, tmp_path: Path) -> None:
    assert TypeAdapter(ProbeReport).validate_json(json.dumps(asdict(report))) == report
    assert "Left out, with under 5 images per class: few." in probes_table(report)
    plot_probes(report, tmp_path / "probes.png")
    assert width_of(tmp_path / "probes.png") > 600
    assert "No task has enough" in probes_table(ProbeReport((), ("few",)))
