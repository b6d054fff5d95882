"""`python -m training evaluate --suite adapters`, from a pack or from data to results on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner
from typer.testing import Result as Answer

import training.evaluate.suites.adapters as suite
from tests.unit.training.adapters.packed import small_pack, write_pack, write_run
from training.adapters import design
from training.adapters.adapt_config import AdaptConfig, AdaptSchedule
from training.adapters.pack import Pack
from training.adapters.timing import Load
from training.cli import app
from training.evaluate.adapters.grid import Grid
from training.evaluate.adapters.report import Timing, load_report
from training.evaluate.adapters.runner import UNITS
from training.evaluate.adapters.timed import TIMING, measure_timing, read_timing
from training.evaluate.adapters.units import Result, Unit
from training.evaluate.suites import SuiteOptions

pytestmark = pytest.mark.torch

Run = Callable[..., Answer]
CARD = "<!-- written by evaluate: adapters -->\n<!-- end of adapters -->\n"


class SmallGrid(Grid):
    """One short fit on the one reserved source of the small data, at two seeds."""

    PARTS = ("sources",)

    def units(self, part: str, results: Sequence[Result]) -> list[Unit]:
        assert part in self.PARTS
        assert not results
        schedule = AdaptSchedule(epochs=1, batch_size=8, peak_lr=1e-2)
        return [
            Unit(
                part,
                "clip-adapter",
                "clothing",
                AdaptConfig(
                    backbone="small", design=design("clip-adapter"), sources=("clothing",), seed=seed, schedule=schedule
                ),
                ("clothing",),
            )
            for seed in range(2)
        ]


@pytest.fixture
def units(tmp_path: Path) -> Path:
    return tmp_path / "adapters" / "units"


@pytest.fixture
def run(units: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def times(device: torch.device) -> Timing:
        return measure_timing(device, Load(batch=1, tokens=2, width=8, runs=1))

    monkeypatch.setattr(suite, "make_grid", lambda _: SmallGrid())
    monkeypatch.setattr(suite, "measure_timing", times)

    def command(*arguments: str) -> Answer:
        paths = ["--data", str(small_data), "--units", str(units), "--out", str(tmp_path / "out")]
        return CliRunner().invoke(app, ["evaluate", "--suite", "adapters", *paths, *arguments])

    return command


def test_it_packs_fits_and_writes_the_page_once_and_finds_it_again(
    run: Run, units: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packed(_: SuiteOptions) -> Pack:
        return small_pack(write_run(tmp_path / "run", small_data), small_data)

    monkeypatch.setattr(suite, "_packed", packed)
    card = tmp_path / "card.md"
    card.write_text(CARD)
    result = run("--card", str(card))
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"adapters.json", "README.md"}
    report = load_report(out / "adapters.json")
    assert [(group.label, group.seeds) for group in report.groups] == [("clip-adapter", (0, 1))]
    assert report.timing is not None
    assert (out / "README.md").read_text("utf-8") == result.stdout.removesuffix("\n")
    assert "| `clip-adapter` |" in (out / "README.md").read_text("utf-8").split("One source at a time")[1]
    assert "not measured yet" in card.read_text()
    first, lines = (out / "adapters.json").read_bytes(), (units / UNITS).read_bytes()
    # No grid is run and no pack is made: everything is there.
    monkeypatch.setattr(suite, "run_grid", None)
    assert run("--no-fit").exit_code == 0
    assert (out / "adapters.json").read_bytes() == first
    assert (units / UNITS).read_bytes() == lines


def test_a_folder_without_units_is_reported_as_it_is(run: Run, units: Path, packed_small: Path) -> None:
    units.mkdir(parents=True)
    shutil.copy(packed_small, units.parent / suite.PACK)
    result = run("--no-fit")
    assert result.exit_code == 0, result.output
    assert "Not measured yet." in result.stdout
    assert list(units.iterdir()) == []


@pytest.fixture
def packed_small(small_data: Path, tmp_path: Path) -> Path:
    return write_pack(tmp_path / "made", small_data)


def test_what_is_missing_is_one_sentence(run: Run, units: Path, packed_small: Path, tmp_path: Path) -> None:
    nowhere = run("--no-fit")
    assert nowhere.exit_code == 1
    assert "no such folder" in nowhere.stderr
    units.mkdir(parents=True)
    missing = run("--no-fit")
    assert missing.exit_code == 1
    assert "adapter-pack" in missing.stderr
    card = tmp_path / "card.md"
    card.write_text("nothing to fill in")
    assert "no section to write" in run("--card", str(card)).stderr
    shutil.copy(packed_small, units.parent / suite.PACK)
    (units / TIMING).write_text("{}")
    broken = run("--no-fit")
    assert broken.exit_code == 1
    assert "timing" in broken.stderr


def test_times_are_kept_for_the_page_where_it_is_asked_for(tmp_path: Path) -> None:
    small = ["--batch", "1", "--width", "8", "--tokens", "2", "--runs", "1", "--device", "cpu"]
    printed = CliRunner().invoke(app, ["adapt-timing", *small, "--units", str(tmp_path / "units")])
    assert printed.exit_code == 0, printed.output
    assert "| Three-branch (parallel) |" in printed.stdout
    kept = read_timing(tmp_path / "units")
    assert kept is not None
    assert (kept.batch, kept.tokens, kept.width, kept.runs) == (1, 2, 8, 1)
    assert CliRunner().invoke(app, ["adapt-timing", *small]).exit_code == 0
