"""The report as a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from training.data.rows import DataError
from training.evaluate.suites.zoo_report import dump_report, load_report, rounded

pytestmark = pytest.mark.torch


def test_a_report_survives_being_written_and_read() -> None:
    path = ROOT / "docs/evaluation/zoo/zoo.json"
    assert dump_report(load_report(path)) == path.read_text("utf-8")


@pytest.mark.parametrize("text", ["", "{}", '{"suite": "zoo"}'])
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"report\.json"):
        load_report(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json"):
        load_report(tmp_path / "none.json")


def test_only_floats_are_rounded() -> None:
    assert rounded({"a": (0.123456, 7, "x", None, True)}) == {"a": [0.1235, 7, "x", None, True]}
