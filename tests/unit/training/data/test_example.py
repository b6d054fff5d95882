"""The bundled example: which rows it takes, and what is committed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.pipeline.cascade.calibration import images_needed
from tests.conftest import ROOT
from tests.unit.training.tiny_data import Item, write_source
from training.cli import app
from training.data.builders.fashion import CLASSES
from training.data.example import ASKED_ABOUT, CALIBRATION_IMAGES, EXAMPLES_PER_CLASS, choose
from training.data.rows import DataError, Row
from training.data.splits import Split, split_of

pytestmark = pytest.mark.torch

BUNDLED = ROOT / "docs/examples/fashion"
NAMES = [name for name, _ in CLASSES]


def made_up(count: int) -> Iterator[tuple[Row, Split]]:
    for number in range(count):
        image = f"picture {number}".encode()
        digest = hashlib.sha256(image).hexdigest()
        row = Row(image, digest, (), NAMES[number % len(NAMES)], "fashion_mnist", test=number % 7 == 0)
        yield row, split_of(digest, test=row.test, reserved=False)


def test_examples_are_of_the_fit_split_and_everything_else_of_calibrate() -> None:
    rows = list(made_up(9_000))
    splits = {row.image: split for row, split in rows}
    files = choose(rows)
    assert {splits[image] for path, image in files.items() if path.parts[0] == "fit"} == {Split.FIT}
    assert {splits[image] for path, image in files.items() if path.parts[0] != "fit"} == {Split.CALIBRATE}
    assert len(set(files.values())) == len(files)
    assert choose(reversed(rows)) == files


@pytest.mark.parametrize(("count", "sentence"), [(50, "are needed"), (4_500, "pictures to calibrate on")])
def test_too_few_rows_are_an_error_that_says_how_many_are_needed(count: int, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        choose(made_up(count))


def test_what_is_committed_trained_no_tower() -> None:
    for path in BUNDLED.rglob("*.png"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        expected = Split.FIT if path.relative_to(BUNDLED).parts[0] == "fit" else Split.CALIBRATE
        assert split_of(digest, test=False, reserved=False) is expected, path


def test_what_is_committed_is_enough_and_small() -> None:
    assert sorted(path.name for path in (BUNDLED / "fit").iterdir()) == sorted(NAMES)
    for name in NAMES:
        assert len(list((BUNDLED / "fit" / name).glob("*.png"))) == EXAMPLES_PER_CLASS
    assert {path.stem for path in (BUNDLED / "classify").iterdir()} == set(ASKED_ABOUT)
    assert len(list((BUNDLED / "calibrate").glob("*.png"))) == CALIBRATION_IMAGES
    assert 2 * images_needed(0.05, 0.1) < CALIBRATION_IMAGES
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*.png")) < 500_000


def test_the_command_leaves_a_folder_with_something_in_it_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    write_source(tmp_path, "fashion_mnist", [Item(1, label="bag")])
    result = CliRunner().invoke(app, ["example", "--data", str(tmp_path), "--out", str(tmp_path / "mine")])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "there is something already" in result.stderr
    few = CliRunner().invoke(app, ["example", "--data", str(tmp_path), "--out", str(tmp_path / "new")])
    assert (few.exit_code, (tmp_path / "new").exists()) == (1, False)
    assert 'pictures of "ankle boot", 16 are needed' in few.stderr
