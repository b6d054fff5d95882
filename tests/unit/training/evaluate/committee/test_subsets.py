"""Committees of every size."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from tests.support.committees import leader
from tests.unit.training.evaluate.committee import made_up_pools
from tests.unit.training.evaluate.committee.made_up_pools import task, width_of
from training.evaluate.committee import subsets
from training.evaluate.committee.sections import in_this_process
from training.evaluate.committee.subsets import SubsetReport, committees_of, measure_subsets, subsets_table
from training.evaluate.committee.subsets_plots import plot_subsets


@pytest.fixture(scope="module")
def report() -> SubsetReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subsets, "SEEDS", (0, 1))
        patch.setattr(made_up_pools, "GFLOPS", (0.1, 0.5, 0.3))
        pools = [task(name, make=leader, seed=seed) for seed, name in enumerate(("one", "two"))]
        empty = task("without shots", make=leader)
        return measure_subsets([*pools, replace(empty, fit=empty.fit.take([]))], in_this_process)


def test_all_subsets_come_by_size_and_cost() -> None:
    assert committees_of((0.1, 0.5, 0.3)) == ((0,), (2,), (1,), (0, 2), (0, 1), (1, 2), (0, 1, 2))


def test_of_many_backbones_only_pairs_and_the_cheapest_are_measured() -> None:
    found = committees_of([1.0 + b for b in range(9)])
    assert len(found) == 9 + 36 + 7
    assert tuple(range(5)) in found


def test_the_expert_lifts_every_committee_that_it_is_in(report: SubsetReport) -> None:
    expert = report.backbones.index("expert")
    scores = {members: report.controller(place).value for place, members in enumerate(report.committees)}
    assert min(score for members, score in scores.items() if expert in members) > 0.6
    assert max(score for members, score in scores.items() if expert not in members) < 0.4


def test_one_backbone_is_itself_whoever_speaks(report: SubsetReport) -> None:
    for place in range(3):
        assert report.mean(place).value == pytest.approx(report.controller(place).value)


def test_costs_add_up_and_the_cheapest_grow(report: SubsetReport) -> None:
    assert [report.cost[place] for place in report.cheapest] == pytest.approx([0.1, 0.4, 0.9])
    assert [report.name(place) for place in report.cheapest][1] == "blind + noisy"
    assert len(report.tasks[0].paper) == 2


def test_a_task_without_shots_is_left_out(report: SubsetReport) -> None:
    assert [each.source for each in report.tasks] == ["one", "two"]


def test_report_table_and_picture(report: SubsetReport, tmp_path: Path) -> None:
    assert TypeAdapter(SubsetReport).validate_json(json.dumps(asdict(report))) == report
    assert "blind + expert + noisy" in subsets_table(report)
    plot_subsets(report, tmp_path / "subsets.png")
    assert width_of(tmp_path / "subsets.png") > 600
