"""The load test of faults on a real Triton server and a real gateway; and how it reads what clients saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest import render
from loadtest.images import make_jpegs, read_samples
from loadtest.scenarios.bench import Bench
from loadtest.scenarios.faults import FAULTS, Answer, FaultsPlan, Seen, describe, faults
from tests.support.triton import WHEEL

PLAN = FaultsPlan(calm_s=0.3, trouble_s=2.0)
KILLED, UNLOADED = FAULTS[0], FAULTS[3]


@pytest.fixture
def bench(fake_repository: Path) -> Bench:
    if not WHEEL.is_dir():
        pytest.skip("needs the Triton server that `make triton-server` installs")
    return Bench(fake_repository, make_jpegs(read_samples(Path("service/playground/samples")), 4))


def test_a_killed_server_is_refusals_until_it_is_back(bench: Bench) -> None:
    (run,) = faults(bench, PLAN, [KILLED])
    assert run["fault"] == KILLED.name
    assert run["answers"]["503"] > 0
    assert "0" not in run["answers"], "nobody was left without an answer"
    assert run["told_after_s"] is not None
    assert run["well_after_s"] is not None


def test_without_one_tower_the_others_answer(bench: Bench) -> None:
    (run,) = faults(bench, PLAN, [UNLOADED])
    assert run["degraded"] > 0
    assert set(run["answers"]) == {"200"}
    assert run["well_after_s"] is not None


def seen(*answers: tuple[float, float, int, bool]) -> Seen:
    return Seen([Answer(sent_s, done_s, status, whole=whole) for sent_s, done_s, status, whole in answers])


def test_times_run_from_the_fault_and_from_its_end() -> None:
    before, late, refused, degraded = (
        (0.0, 0.5, 200, True),
        (0.9, 3.0, 503, False),
        (3.0, 3.1, 503, False),
        (3.2, 3.3, 200, False),
    )
    run = describe("x", seen(before, late, refused, degraded, (4.9, 5.2, 503, False), (5.3, 5.5, 200, True)), 1.0, 5.0)
    assert run["told_after_s"] == 2.0
    assert run["longest_wait_s"] == 2.1
    assert run["answers"] == {"200": 1, "503": 3}
    assert run["degraded"] == 1
    assert run["well_after_s"] == 0.5


def test_what_never_happened_is_a_dash_on_the_page() -> None:
    run = describe("x", seen((0.0, 0.5, 200, True)), 1.0, 2.0)
    assert (run["told_after_s"], run["longest_wait_s"], run["well_after_s"]) == (None, None, None)
    assert render.TABLES["faults"][1](run)[1:4] == ["-", "-", "-"]
