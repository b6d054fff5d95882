"""The evaluation of a whole repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.repository import write_repository
from training.cli import app

pytestmark = pytest.mark.torch


def test_evaluate_prints_a_table_and_writes_every_score(small_data: Path, tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repository")
    out = tmp_path / "evaluation.json"
    result = CliRunner().invoke(
        app, ["evaluate", "--data", str(small_data), "--repository", str(repository), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert "| things (seen classes) | top-1 accuracy, 3 classes |" in result.stdout
    assert "| clothing (unseen source) |" in result.stdout
    assert "text to image R@10" in result.stdout
    written = json.loads(out.read_text())
    assert set(written["zoo"]) == {"small", "large"}
    for task in written["results"]:
        committees = {"mean_logit"} if task["classes"] is None else {"mean", "mean_logit"}
        assert set(task["scores"]) == {"small", "large"} | committees
        for score in task["scores"].values():
            assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1


def test_a_missing_repository_is_one_sentence(small_data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", "--data", str(small_data), "--repository", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
