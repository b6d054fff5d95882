"""Units of work and their results on disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from training.evaluate.committee.units import Unit, run_units

asked: list[int] = []


def double(value: int) -> dict[str, int]:
    asked.append(value)
    return {"doubled": 2 * value}


def fail(value: int) -> int:
    raise ArithmeticError(f"{value} cannot be computed")


def unit(value: int, version: str = "1") -> Unit:
    return Unit(f"double-{value}", ("double", version, str(value)), partial(double, value))


def silent(_: str) -> None:
    """Hears nothing."""


@pytest.fixture(autouse=True)
def nobody_asked() -> None:
    asked.clear()


def test_results_come_in_the_order_of_the_units(tmp_path: Path) -> None:
    found = run_units([unit(3), unit(1)], tmp_path, workers=1, progress=silent)
    assert found == [{"doubled": 6}, {"doubled": 2}]


def test_a_second_run_computes_what_is_missing_only(tmp_path: Path) -> None:
    run_units([unit(1)], tmp_path, workers=1, progress=silent)
    said: list[str] = []
    assert run_units([unit(1), unit(2)], tmp_path, workers=1, progress=said.append) == [{"doubled": 2}, {"doubled": 4}]
    assert asked == [1, 2]
    assert said[0].startswith("1 of 2 units were found")


def test_another_key_is_another_unit(tmp_path: Path) -> None:
    run_units([unit(1)], tmp_path, workers=1, progress=silent)
    run_units([unit(1, version="2")], tmp_path, workers=1, progress=silent)
    assert asked == [1, 1]


def test_a_broken_file_is_computed_anew(tmp_path: Path) -> None:
    run_units([unit(1)], tmp_path, workers=1, progress=silent)
    (path,) = tmp_path.iterdir()
    path.write_text('{"doubled": ')
    assert run_units([unit(1)], tmp_path, workers=1, progress=silent) == [{"doubled": 2}]
    assert asked == [1, 1]


def test_what_was_finished_before_an_error_is_kept(tmp_path: Path) -> None:
    broken = Unit("broken", ("broken",), partial(fail, 7))
    with pytest.raises(ArithmeticError, match="7 cannot"):
        run_units([unit(1), broken], tmp_path, workers=1, progress=silent)
    assert [path.name.startswith("double-1-") for path in tmp_path.iterdir()] == [True]


def test_other_processes_give_the_same(tmp_path: Path) -> None:
    units = [unit(1), unit(2)]
    found = run_units(units, tmp_path, workers=2, progress=silent)
    assert found == [{"doubled": 2}, {"doubled": 4}]
    assert asked == []
