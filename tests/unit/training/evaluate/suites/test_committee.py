"""The committee suite on tiny data and tiny backbones, from the command to the files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.pipeline.controller import pulled as controller_pulled
from service.pipeline.controller.fit import PAPER
from tests.support.repository import Spec, write_repository
from tests.unit.training.tiny_data import Item, write_source
from training.cli import app
from training.data.rows import DataError
from training.evaluate import generic
from training.evaluate.committee import methods
from training.evaluate.committee.report import load_report
from training.evaluate.suites import committee

pytestmark = pytest.mark.torch

SPECS = (Spec("small", gflops=0.25), Spec("middle", 40, 10, 0.5))


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Few seeds and steps, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(committee, "SEEDS", 2)
        patch.setattr(committee, "SHOTS", (1, 2))
        patch.setattr(committee, "MOST_WORKERS", 1)
        patch.setattr(generic, "SCHEDULE", replace(generic.SCHEDULE, steps=20))
        patch.setattr(methods, "PAPER", replace(PAPER, steps=20))
        patch.setattr(controller_pulled, "STEPS", 5)
        yield


@pytest.fixture(scope="module")
def arguments(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("committee")
    repository = write_repository(folder / "repository", SPECS)
    options = {"data": small_data, "repository": repository, "out": folder / "out", "cache": folder / "embeddings"}
    return [
        "evaluate",
        "--suite",
        "committee",
        *(part for key, path in options.items() for part in (f"--{key}", str(path))),
    ]


@pytest.fixture(scope="module")
def evaluated(arguments: list[str]) -> tuple[Result, Path]:
    """What the command said, and the folder that it wrote."""
    return CliRunner().invoke(app, arguments), Path(arguments[arguments.index("--out") + 1])


def test_the_command_prints_the_tables_and_writes_them_with_plots(evaluated: tuple[Result, Path]) -> None:
    result, out = evaluated
    assert result.exit_code == 0, result.output
    text = (out / "README.md").read_text()
    assert result.stdout == text + "\n"
    named = set(re.findall(r"\((\w+\.png)\)", text))
    assert {"frontier.png", "reliability.png", "shots.png", "weights.png"} <= named
    assert {path.name for path in out.iterdir()} == {"README.md", "committee.json", *named}
    assert all(path.stat().st_size > 0 for path in out.iterdir())


def test_tables_follow_from_the_report(evaluated: tuple[Result, Path]) -> None:
    out = evaluated[1]
    assert committee.tables(load_report(out / "committee.json")) == (out / "README.md").read_text()


def test_the_report_names_the_files_that_were_measured(evaluated: tuple[Result, Path]) -> None:
    report = load_report(evaluated[1] / "committee.json")
    assert list(report.backbones) == ["small", "middle"]
    assert {task.source for task in report.shots.tasks} == {"clothing", "objects", "things"}


def test_a_second_run_computes_nothing_and_writes_the_same(
    evaluated: tuple[Result, Path], arguments: list[str]
) -> None:
    out = evaluated[1]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    units = out.parent / "committee"
    stamps = {path.name: path.stat().st_mtime_ns for path in units.iterdir()}
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert {path.name: path.stat().st_mtime_ns for path in units.iterdir()} == stamps
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_data_without_labels_are_one_sentence(tmp_path: Path, arguments: list[str]) -> None:
    write_source(tmp_path, "captions", [Item(i, captions=(f"picture {i}",), split="test") for i in range(4)])
    changed = [str(tmp_path) if part == arguments[arguments.index("--data") + 1] else part for part in arguments]
    changed[changed.index("--out") + 1] = str(tmp_path / "out")
    result = CliRunner().invoke(app, changed)
    assert result.exit_code == 1
    assert "error: there is no labelled task" in result.output
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_report_is_named(tmp_path: Path) -> None:
    (tmp_path / "committee.json").write_text("{}")
    with pytest.raises(DataError, match="not a report of the committee suite"):
        load_report(tmp_path / "committee.json")


def test_a_page_with_the_section_is_given_the_headline(
    arguments: list[str], evaluated: tuple[Result, Path], tmp_path: Path
) -> None:
    """After the first run, whose units are found again."""
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- written by evaluate: committee -->\n<!-- end of committee -->\n\nAfter.\n")
    result = CliRunner().invoke(app, [*arguments, "--card", str(page)])
    assert result.exit_code == 0, result.output
    report = load_report(evaluated[1] / "committee.json")
    assert committee.headline(report) in page.read_text()
    assert page.read_text().startswith("Before.")
    assert page.read_text().endswith("After.\n")
