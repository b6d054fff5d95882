"""The timing of table 7: what is timed, not how long it takes."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from training.adapters.timing import Load, table_7, timing_table
from training.cli import app

pytestmark = pytest.mark.torch

SMALL = Load(batch=1, tokens=3, width=8, runs=2)


def test_the_forms_are_those_of_the_paper() -> None:
    found = table_7(torch.device("cpu"), SMALL)
    assert list(found) == ["One-branch", "Three-branch", "Three-branch (parallel)"]
    assert all(seconds > 0 for seconds in found.values())


def test_the_table_is_relative_to_one_branch() -> None:
    lines = timing_table(torch.device("cpu"), SMALL).splitlines()
    assert lines[2].startswith("| One-branch | ")
    assert lines[2].endswith(" | 1.00 |")
    assert len(lines) == 5


def test_the_command_prints_it() -> None:
    arguments = ["adapt-timing", "--device", "cpu", "--batch", "1", "--tokens", "3", "--width", "8", "--runs", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "Three-branch (parallel)" in result.stdout
