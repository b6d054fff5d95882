"""Computing units of the study from a small pack."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import training.evaluate.experts.probing as probing
from tests.unit.training.evaluate.experts.made_up import PIXELS, small_pack
from training.data.augment import Augmentation
from training.data.rows import DataError
from training.evaluate.experts.bench import SHEET, Bench, Curve, open_bench
from training.evaluate.experts.grid import BOTH, CLIPTEX, FT, Grid, Recipe
from training.evaluate.experts.measures import ALL, DETECTION, SETTINGS, SSD, ProbeSettings, measure_of
from training.evaluate.experts.plots import sheet_pictures
from training.evaluate.experts.runner import RunOptions, grid_at, run_study
from training.evaluate.experts.units import Record, Unit
from training.evaluate.records import UNITS
from training.experts.fitting.fit import FitState, Taken
from training.experts.packs.pack import save_expert_pack

pytestmark = pytest.mark.torch

CLASSES = 20


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes of two steps."""

    def short(settings: ProbeSettings) -> ProbeSettings:
        schedule = replace(settings.schedule, epochs=2, batch_size=4)
        return replace(settings, schedule=schedule, width=8)

    monkeypatch.setattr(probing, "SETTINGS", {name: short(each) for name, each in SETTINGS.items()})
    monkeypatch.setattr(probing, "DETECTION", short(DETECTION))


@pytest.fixture(scope="module")
def bench(study_pack: Path) -> Bench:
    return open_bench(study_pack, "cpu")


def _unit(recipe: Recipe | None = CLIPTEX, *, probes: tuple[str, ...] = ("scenes/classes/linear",)) -> Unit:
    if recipe is None:
        return Unit("main", "clip", "vit-s", 0, PIXELS, probes)
    config = replace(recipe, side=PIXELS, epochs=1).config("vit-s", 0, CLASSES)
    config = replace(config, schedule=replace(config.schedule, batch_size=4))
    return Unit("main", recipe.label, "vit-s", 0, PIXELS, probes, config, recipe.sets)


class SmallGrid(Grid):
    """Two units."""

    def units(self, part: str) -> list[Unit]:
        assert part == "main"
        return [_unit(None), _unit(FT)]


def test_every_probe_gives_what_it_is_summed_up_by(bench: Bench) -> None:
    result, state = bench.compute(_unit(None, probes=ALL))
    assert set(result.scores) == set(ALL)
    for probe, scores in result.scores.items():
        assert measure_of(probe).metric in scores
        assert all(value >= 0 for value in scores.values())
    assert (result.pictures, result.steps, result.terms) == (0, 0, {})
    assert len(result.ious["scenes/classes/linear"]) == CLASSES
    assert len(state["places"]) == sum(count for _, count in SHEET)


def test_a_fit_says_what_it_learnt_from_and_moves_what_is_measured(bench: Bench) -> None:
    plain, _ = bench.compute(_unit(None, probes=("scenes/depth/linear",)))
    taught, _ = bench.compute(_unit(CLIPTEX, probes=("scenes/depth/linear",)))
    alone, _ = bench.compute(_unit(FT, probes=("scenes/depth/linear",)))
    assert (taught.pictures, taught.steps) == (8, 2)
    assert set(taught.terms) == {"clip", "classes", "depth", "normals"}
    assert set(alone.terms) == {"clip"}
    assert len({json.dumps(each.scores) for each in (plain, taught, alone)}) == 3


def test_a_unit_is_the_same_whenever_it_is_computed(bench: Bench) -> None:
    first, maps = bench.compute(_unit())
    bench.compute(_unit(FT))
    second, again = bench.compute(_unit())
    assert replace(second, fit_seconds=first.fit_seconds, probe_seconds=first.probe_seconds) == first
    assert torch.equal(maps["places"], again["places"])


def test_a_lost_loss_is_a_result_without_scores(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object) -> None:
        raise FloatingPointError("gone")

    monkeypatch.setattr("training.evaluate.experts.bench.fit", lose)
    result, state = bench.compute(_unit())
    assert (result.lost, result.scores, state) == (True, {}, {})


def test_a_run_goes_on_where_it_was_and_keeps_what_is_drawn(study_pack: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    options = RunOptions(study_pack, tmp_path, "cpu", 1, 0, lines.append)
    record = run_study(SmallGrid(CLASSES), ["main"], options)
    before = (tmp_path / UNITS).read_text()
    assert [each.label for each in record.results.values()] == ["clip", "ft"]
    with (tmp_path / UNITS).open("a") as file:
        file.write(before[:50])  # a kill
    run_study(SmallGrid(CLASSES), ["main"], options)
    assert (tmp_path / UNITS).read_text() == before
    assert Record.open(tmp_path).results == record.results
    assert lines[-1] == "main: 2 of 2 units are there"


def test_only_the_labels_that_were_asked_for_are_computed(study_pack: Path, tmp_path: Path) -> None:
    options = RunOptions(study_pack, tmp_path, "cpu", 1, 0, lambda _: None, labels=("clip",))
    assert [each.label for each in run_study(SmallGrid(CLASSES), ["main"], options).results.values()] == ["clip"]


def test_only_the_backbones_that_were_asked_for_are_fitted(study_pack: Path, tmp_path: Path) -> None:
    options = RunOptions(study_pack, tmp_path, "cpu", 1, 0, lambda _: None, towers=("resnet-l",))
    assert run_study(SmallGrid(CLASSES), ["main"], options).results == {}


def test_the_grid_of_a_pack_has_its_towers_and_classes(study_pack: Path, tmp_path: Path) -> None:
    grid = grid_at(study_pack)
    assert grid == Grid(CLASSES, ("vit-s",))
    assert {unit.tower for unit in grid.units("main")} == {"vit-s"}
    with pytest.raises(DataError, match="pack"):
        grid_at(tmp_path / "none")


def test_a_key_depends_on_all_that_decides_the_result() -> None:
    unit = _unit()
    others = [
        _unit(FT),
        _unit(None),
        replace(unit, seed=1),
        replace(unit, side=96),
        replace(unit, probes=("scenes/depth/linear",)),
        replace(unit, sets=BOTH[:1]),
    ]
    keys = {unit.key("pack"), unit.key("another"), *(each.key("pack") for each in others)}
    assert len(keys) == 2 + len(others)
    assert replace(unit, part="tried", label="another").key("pack") == unit.key("pack")


@pytest.mark.parametrize("change", [{"width": 8}, {"every": 1}, {"schedule": DETECTION.schedule}])
def test_a_key_depends_on_how_its_probes_are_fitted(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    linear, boxes, named = (_unit(probes=(each,)) for each in ("scenes/classes/linear", SSD, "cifar100/zero-shot"))
    before = [each.key("pack") for each in (linear, boxes, named)]
    usual = SETTINGS["linear", "classes"]
    monkeypatch.setitem(SETTINGS, ("linear", "classes"), replace(usual, **change))
    after = [each.key("pack") for each in (linear, boxes, named)]
    assert before[0] != after[0]
    assert before[1:] == after[1:]


def test_a_key_depends_on_the_farthest_depth_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    depth, normals = (_unit(probes=(f"scenes/{each}/linear",)) for each in ("depth", "normals"))
    before = depth.key("pack"), normals.key("pack")
    monkeypatch.setattr("training.evaluate.experts.units.DEPTH_CAP", 10.0)
    assert depth.key("pack") != before[0]
    assert normals.key("pack") == before[1]


def test_a_probe_that_loses_its_loss_fails_its_unit_and_no_other(
    study_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Bench.compute

    def lose(self: Bench, unit: Unit) -> Any:
        if unit.config is None:
            raise FloatingPointError("the probe's loss is nan at step 3")
        return usual(self, unit)

    monkeypatch.setattr(Bench, "compute", lose)
    lines: list[str] = []
    record = run_study(SmallGrid(CLASSES), ["main"], RunOptions(study_pack, tmp_path, "cpu", 1, 0, lines.append))
    assert [each.label for each in record.results.values()] == ["ft"]
    assert "failed: clip of vit-s, seed 0: the probe's loss is nan at step 3" in lines


def test_features_are_drawn_of_pictures_without_photographs_alone(study_pack: Path, tmp_path: Path) -> None:
    pack = small_pack()
    rows = pack.sets["scenes_test"].rows
    behind = tuple(replace(row, behind="tiny_imagenet 0" if at < 2 else "") for at, row in enumerate(rows))
    pack.sets["scenes_test"] = replace(pack.sets["scenes_test"], rows=behind)
    save_expert_pack(tmp_path / "pack.safetensors", pack)
    _, usual = open_bench(study_pack, "cpu").compute(_unit(None, probes=()))
    _, found = open_bench(tmp_path / "pack.safetensors", "cpu").compute(_unit(None, probes=()))
    assert torch.equal(found["places"][:4], usual["places"][2:6])
    assert torch.equal(found["places"][4:], usual["places"][6:])
    assert len(sheet_pictures(pack)) == len(found["places"])


def test_a_fit_is_augmented_as_its_configuration_says(bench: Bench) -> None:
    unit = _unit(CLIPTEX)
    assert unit.config is not None
    still = replace(unit, config=replace(unit.config, augmentation=Augmentation(mirror=0.0)))
    assert bench.shelf.feed(still).augmentation.mirror == 0


def test_a_curve_is_the_mean_of_the_steps_since_the_point_before() -> None:
    curve = Curve()
    state = FitState(None, None, None)  # type: ignore[arg-type]  # a curve looks at the step alone
    for step in range(1, 81):
        state.step = step
        assert curve.hear(state, Taken(1.0, {"clip": float(step)}, 0.1))
    points = curve.smoothed()["clip"]
    assert len(points) == 40
    assert points[0] == [2, 1.5]
    assert points[-1] == [80, 79.5]
