"""Sizes are reckoned from what was measured: the committed results, and made-up ones whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loadtest.cli import app
from loadtest.results import read_all
from loadtest.sizing import Demand, Pool, SizingError, costs_of, measured, read_pool, size, sizing
from tests.support.repository import DEFAULT_SPECS, Spec, write_repository

RESULTS = Path("loadtest/results")
DEMAND = Demand(100.0, cached=0.0, utilisation=0.5, spare=1, cores_per_gateway=2.0, cores_per_server=4.0)


def run(case: str, gflops: float, core_ms: float, concurrency: int = 16) -> dict[str, Any]:
    side = {"images_per_s": 100.0, "gateway_busy_cores": core_ms / 10, "work": {"gflops_per_image": gflops}}
    return {"part": "load", "case": case, "concurrency": concurrency, "embedded": side, "triton": side}


def result(*runs: dict[str, Any], date: str = "2026-01-02T03:04:05Z") -> dict[str, Any]:
    cached = {"images_per_s": 500.0, "gateway_busy_cores": 1.0}
    gateways = {"part": "gateways", "case": "mean, cached", "arrangements": {"one": cached}}
    machine = {"cpu": "a processor", "cores": 2}
    return {"scenario": "cluster", "date": date, "machine": machine, "runs": [*runs, gateways]}


MADE_UP = {"one": result(run("one backbone", 0.1, 6.0), run("mean of all", 1.1, 26.0))}


def test_costs_are_the_line_through_both_measured_cases() -> None:
    costs = measured(MADE_UP, "triton")
    assert costs.per_gflop_ms == pytest.approx(20.0)
    assert costs.base_ms == pytest.approx(4.0)
    assert costs.cached_ms == pytest.approx(2.0)


def test_the_newest_result_counts_and_an_idle_machine_does_not() -> None:
    idle = run("one backbone", 0.1, 60.0, concurrency=1)
    new = result(idle, run("one backbone", 0.1, 12.0), run("mean of all", 1.1, 52.0), date="2026-02-02T00:00:00Z")
    assert measured(MADE_UP | {"two": new}, "onnx").per_gflop_ms == pytest.approx(40.0)


def test_each_pool_gets_the_images_that_come_so_far() -> None:
    gflops = {"small": 0.1, "large": 0.9}
    pools = [Pool("cheap", ("small",)), Pool("rest", ("large",), 0.4)]
    gateways, cheap, rest = size(measured(MADE_UP, "triton"), gflops, pools, DEMAND, "triton")
    assert [need.cores for need in (gateways, cheap, rest)] == pytest.approx([0.4, 0.2, 0.72])
    assert [need.images_per_s for need in (gateways, cheap, rest)] == pytest.approx([100, 100, 40])
    assert [need.pods for need in (gateways, cheap, rest)] == [2, 2, 2]


def test_without_triton_the_gateways_do_all_and_the_cache_spares_it() -> None:
    pools = [Pool("all", ("small", "large"))]
    (need,) = size(measured(MADE_UP, "onnx"), {"small": 0.1, "large": 0.9}, pools, DEMAND, "onnx")
    assert need.cores == pytest.approx(2.4)
    assert need.pods == 4
    half = Demand(100.0, 0.5, 0.5, 0, 2.0, 4.0)
    (need,) = size(measured(MADE_UP, "onnx"), {"small": 0.1, "large": 0.9}, pools, half, "onnx")
    assert need.cores == pytest.approx((0.5 * 24 + 0.5 * 2) / 10)


def test_the_repository_names_what_its_backbones_cost(fake_repository: Path) -> None:
    assert costs_of(fake_repository) == {"small": 0.25, "large": 1.5}


def test_who_votes_only_when_asked_is_reckoned_with_where_a_pool_names_it(tmp_path: Path) -> None:
    specs = [*DEFAULT_SPECS, Spec("variant", gflops=0.5, votes="when_asked")]
    repository = write_repository(tmp_path, specs)
    assert costs_of(repository) == {"small": 0.25, "large": 1.5, "variant": 0.5}
    (_, row) = rows(sizing(RESULTS, repository, [], DEMAND, "triton"))
    assert (row[0], row[2]) == ("pool all", "1.750")
    (_, row) = rows(sizing(RESULTS, repository, ["all=small,large,variant"], DEMAND, "triton"))
    assert row[2] == "2.250"


def rows(answer: str) -> list[list[str]]:
    table = [line for line in answer.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_a_gateway_beside_triton_is_not_made_faster_by_cores_that_it_cannot_use() -> None:
    wide = Demand(1000.0, cached=0.0, utilisation=0.5, spare=0, cores_per_gateway=16.0, cores_per_server=16.0)
    pools, costs = [Pool("all", ("small", "large"))], {"small": 0.1, "large": 0.9}
    gateways, servers = size(measured(MADE_UP, "triton"), costs, pools, wide, "triton")
    assert [gateways.cores, servers.cores] == pytest.approx([4.0, 20.0])
    assert [gateways.pods, servers.pods] == [4, 3]
    (alone,) = size(measured(MADE_UP, "onnx"), costs, pools, wide, "onnx")
    assert alone.pods == 3


@pytest.mark.parametrize("text", ["", "rest", "rest=", "rest=a:0", "rest=a:1.5", "rest=a:1.2.3", "re st=a"])
def test_what_is_no_pool_is_named(text: str) -> None:
    with pytest.raises(SizingError, match="is no pool"):
        read_pool(text)


def test_what_cannot_be_reckoned_is_said(tmp_path: Path, fake_repository: Path) -> None:
    with pytest.raises(SizingError, match="no result of"):
        sizing(tmp_path, fake_repository, [], DEMAND, "triton")
    with pytest.raises(SizingError, match="no image tower"):
        sizing(RESULTS, tmp_path, [], DEMAND, "triton")
    with pytest.raises(SizingError, match=r"no backbone 'none'; the repository has large, small"):
        sizing(RESULTS, fake_repository, ["a=none"], DEMAND, "triton")
    with pytest.raises(SizingError, match="no case 'mean of all' under load"):
        measured({"one": result(run("one backbone", 0.1, 6.0))}, "triton")
    level = result(run("one backbone", 0.1, 6.0), run("mean of all", 1.1, 6.0))
    with pytest.raises(SizingError, match="take it anew without other load"):
        measured({"one": level}, "triton")


def test_the_command_answers_from_the_committed_results() -> None:
    done = CliRunner().invoke(app, ["sizing", "--images-per-second", "200"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0].startswith("| what | images/s |")
    assert any(name in done.output for name in read_all(RESULTS))
    wrong = CliRunner().invoke(app, ["sizing", "--images-per-second", "200", "--pool", "a=b"])
    assert (wrong.exit_code, wrong.output.count("\n")) == (1, 1)
