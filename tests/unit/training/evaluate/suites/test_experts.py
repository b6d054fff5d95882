"""`python -m training evaluate --suite experts` and `python -m training.experts units`, from a pack to results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Answer

import training.evaluate.experts.probing as probing
import training.evaluate.suites.experts as suite
from tests.unit.training.evaluate.experts.made_up import PIXELS, small_pack
from training.cli import app
from training.evaluate.experts.grid import CLIPTEX, FT, SIDE, Grid
from training.evaluate.experts.measures import SETTINGS
from training.evaluate.experts.report import load_report
from training.evaluate.experts.units import Unit
from training.evaluate.records import STATES, UNITS
from training.experts.__main__ import app as experts
from training.experts.packs.pack import save_expert_pack

pytestmark = pytest.mark.torch

Run = Callable[..., Answer]
CARD = "<!-- written by evaluate: experts -->\n<!-- end of experts -->\n"
PROBE = "scenes/classes/linear"


class SmallGrid(Grid):
    """Both fits, of one epoch, for one probe; pictures are enlarged from the pack's own size."""

    def units(self, part: str) -> list[Unit]:
        found = []
        for recipe in (FT, CLIPTEX) if part == "main" else ():
            config = replace(recipe, epochs=1).config("vit-s", 0, self.classes)
            config = replace(config, schedule=replace(config.schedule, batch_size=4))
            found.append(Unit(part, recipe.label, "vit-s", 0, SIDE, (PROBE,), config, recipe.sets))
        return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    save_expert_pack(tmp_path / "experts" / "pack.safetensors", small_pack())
    return tmp_path / "experts" / "cpu"


@pytest.fixture
def run(units: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    quick = {
        name: replace(each, schedule=replace(each.schedule, epochs=1, batch_size=4)) for name, each in SETTINGS.items()
    }
    monkeypatch.setattr(probing, "SETTINGS", quick)
    monkeypatch.setattr(suite, "grid_of", lambda _: SmallGrid(20, ("vit-s",)))

    def command(*arguments: str) -> Answer:
        paths = ["--data", str(small_data), "--units", str(units), "--out", str(tmp_path / "out")]
        return CliRunner().invoke(app, ["evaluate", "--suite", "experts", *paths, *arguments])

    return command


def test_it_fits_probes_and_writes_the_page_once_and_finds_it_again(run: Run, units: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text(CARD)
    answer = run("--card", str(card))
    assert answer.exit_code == 0, answer.output
    assert "# CLIPTeX: what experts' labels teach a backbone" in answer.stdout
    assert "CLIPTeX above CLIP-FT" in card.read_text()
    report = load_report(tmp_path / "out" / "experts.json")
    assert {(group.label, group.seeds) for group in report.groups} == {("ft", (0,)), ("cliptex", (0,))}
    assert (report.machines, report.towers) == ({next(iter(report.machines)): 2}, ("vit-s",))
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        "classes.png",
        "features-vit-s.png",
        "terms.png",
    }
    assert (units / STATES).is_file()
    page = (tmp_path / "out" / "README.md").read_text()
    shutil.rmtree(tmp_path / "out")
    assert run("--no-fit").exit_code == 0
    assert (tmp_path / "out" / "README.md").read_text() == page


def test_units_of_another_pack_are_left_out(run: Run, units: Path, tmp_path: Path) -> None:
    assert run().exit_code == 0
    lines = [json.loads(line) | {"key": "another"} for line in (units / UNITS).read_text().splitlines()]
    (units / UNITS).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert run("--no-fit").exit_code == 0
    assert load_report(tmp_path / "out" / "experts.json").groups == ()


def test_without_units_or_a_pack_it_says_what_to_do(run: Run, units: Path) -> None:
    answer = run("--no-fit")
    assert answer.exit_code == 1
    assert "python -m training.experts units" in answer.stderr
    (units.parent / "pack.safetensors").unlink()
    answer = run()
    assert answer.exit_code == 1
    assert "python -m training.experts pack" in answer.stderr


def test_the_command_for_units_says_what_is_wrong(units: Path) -> None:
    pack = str(units.parent / "pack.safetensors")
    answer = CliRunner().invoke(experts, ["units", "--out", str(units), "--pack", pack, "--part", "appendix"])
    assert answer.exit_code == 1
    assert answer.stderr == 'error: no part is called "appendix"; there are main, roles, heads, tried, rates\n'
    answer = CliRunner().invoke(experts, ["units", "--out", str(units), "--pack", pack, "--tower", "mixer-n"])
    assert answer.exit_code == 1
    assert answer.stderr == f"error: {pack} has no backbone mixer-n; it has vit-s\n"
    answer = CliRunner().invoke(experts, ["units", "--out", str(units), "--pack", "none"])
    assert answer.exit_code == 1
    assert answer.stderr.startswith("error: none: no such file")
    assert not units.exists()


def test_the_command_for_units_ends_after_its_time(units: Path) -> None:
    pack = str(units.parent / "pack.safetensors")
    answer = CliRunner().invoke(
        experts, ["units", "--out", str(units), "--pack", pack, "--part", "main", "--minutes", "0.000001"]
    )
    assert answer.exit_code == 0, answer.output
    assert answer.stdout == f"{units}: 0 units\n"
    assert PIXELS < SIDE
