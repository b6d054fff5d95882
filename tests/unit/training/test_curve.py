"""The record of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.curve import format_row, plot_curve, read_curve, smooth, start_curve

pytestmark = pytest.mark.torch


def test_rows_after_the_checkpoint_are_dropped_when_a_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    start_curve(path, before_step=0)
    with path.open("a") as file:
        file.writelines(format_row(step, 5.0 - step, 0.1, 14.0, step) for step in range(5))
    start_curve(path, before_step=3)
    assert [row["step"] for row in read_curve(path)] == [0, 1, 2]


def test_a_fresh_run_forgets_an_older_curve(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("step,loss,lr,logit_scale,seconds\n0,1,1,1,1\n")
    start_curve(path, before_step=0)
    assert read_curve(path) == []


def test_smoothing_is_a_running_mean_that_starts_at_once() -> None:
    assert smooth([1, 2, 3, 4], 2).tolist() == [1, 1.5, 2.5, 3.5]


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    start_curve(path, before_step=0)
    with path.open("a") as file:
        file.writelines(format_row(step, 5.0 - step, 0.1, 14.0, step) for step in range(5))
    plot_curve(path, tmp_path / "curve.png", "title")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
