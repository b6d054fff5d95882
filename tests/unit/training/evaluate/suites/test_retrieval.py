"""`python -m training evaluate --suite retrieval`, from data and a repository to results on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import training.evaluate.suites.retrieval as suite
from service.repository import load_zoo
from tests.support.repository import Spec, write_repository
from tests.support.retrieval import ship
from tests.unit.training.tiny_data import Item, write_source
from training.cli import app
from training.evaluate.retrieval.report import load_report
from training.evaluate.retrieval.tables import PICTURES, headline, tables

pytestmark = pytest.mark.torch

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large and a small set with captions, and one with labels."""
    folder = tmp_path_factory.mktemp("data")
    for number, (source, count) in enumerate((("scenes", 80), ("coco_mini", 20))):
        items = [
            Item(1000 * number + i, captions=(f"{source} {i}", f"again {i}"), split="test" if i % 3 == 0 else "train")
            for i in range(count)
        ]
        write_source(folder, source, items)
    write_source(folder, "things", [Item(9000 + i, label="apple", split="test") for i in range(20)])
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "repository")


@pytest.fixture
def run(data: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(suite, "GALLERY", 500)

    def command(*arguments: str, folder: Path = data) -> Result:
        paths = ["--repository", str(repository), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
        given = ["evaluate", "--suite", "retrieval", "--data", str(folder), *paths, *arguments]
        return CliRunner().invoke(app, given)

    return command


def test_it_writes_the_report_the_tables_and_the_plots(run: Run, repository: Path, tmp_path: Path) -> None:
    ship(repository, load_zoo(repository))
    result = run()
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "retrieval.json",
        "README.md",
        *(f"{name}.png" for name in PICTURES),
    }
    report = load_report(out / "retrieval.json")
    assert [(found.source, found.synthetic) for found in report.sets] == [
        ("scenes", False),
        ("coco_mini", False),
        ("scenes", True),
    ]
    assert [direction.items for direction in report.sets[-1].directions] == [500, 500]
    assert report.folding_error <= 1e-5
    assert report.shipped.prefix == ("small",)
    assert (out / "README.md").read_text("utf-8") == tables(report) == result.stdout.removesuffix("\n")
    first = (out / "retrieval.json").read_bytes()
    assert run().exit_code == 0
    assert (out / "retrieval.json").read_bytes() == first


def test_the_headline_goes_into_a_page(run: Run, repository: Path, tmp_path: Path) -> None:
    ship(repository, load_zoo(repository))
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- written by evaluate: retrieval -->\n<!-- end of retrieval -->\n")
    result = run("--card", str(page))
    assert result.exit_code == 0, result.output
    assert headline(load_report(tmp_path / "out" / "retrieval.json")) in page.read_text("utf-8")


def test_a_page_that_cannot_be_filled_is_told_before_anything_is_measured(
    run: Run, repository: Path, tmp_path: Path
) -> None:
    ship(repository, load_zoo(repository))
    page = tmp_path / "page.md"
    page.write_text("<!-- written by evaluate: retrieval -->\n")
    result = run("--card", str(page))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "has no end" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_repository_that_ships_nothing_is_one_sentence(run: Run) -> None:
    result = run()
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "`python -m training retrieval` fits them" in result.stderr


def test_controllers_of_another_zoo_are_one_sentence(run: Run, repository: Path) -> None:
    other = load_zoo(write_repository(repository.parent / "other", [Spec("small"), Spec("huge")]))
    ship(repository, other)
    result = run()
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "does not apply" in result.stderr
    assert '"huge"' in result.stderr


def test_data_without_captions_are_one_sentence(run: Run, repository: Path, tmp_path: Path) -> None:
    ship(repository, load_zoo(repository))
    folder = tmp_path / "labels"
    folder.mkdir()
    write_source(folder, "things", [Item(i, label="apple", split="test") for i in range(5)])
    result = run(folder=folder)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "no set of pictures with captions" in result.stderr


def test_a_source_of_test_rows_alone_has_no_larger_gallery(run: Run, repository: Path, tmp_path: Path) -> None:
    ship(repository, load_zoo(repository))
    folder = tmp_path / "tests-only"
    folder.mkdir()
    write_source(folder, "scenes", [Item(i, captions=(f"scene {i}",), split="test") for i in range(15)])
    result = run(folder=folder)
    assert result.exit_code == 0, result.output
    report = load_report(tmp_path / "out" / "retrieval.json")
    assert len(report.sets) == 1
    assert report.realism == ()
    assert "synthetic" not in (tmp_path / "out" / "README.md").read_text("utf-8")
