"""All that the study reads, in one go, on a tiny plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.unit.training.adapters.packed import write_run
from tests.unit.training.experts.test_composites import EVERY
from training.checkpoint import CheckpointError
from training.data.rows import DataError
from training.data.splits import Split
from training.experts import composites
from training.experts.__main__ import app
from training.experts.composites import Cupboard
from training.experts.known import SCENE_EXPERTS
from training.experts.packs.pack import digest_of, load_expert_pack
from training.experts.packs.packing import DENSE, TAUGHT, WANTED, Wanted
from training.experts.packs.preparing import Drawn, Plan, prepare_study

pytestmark = pytest.mark.torch

PLAN = Plan(
    scenes=(Drawn("scenes_fit", 5, 0), Drawn("scenes_test", 3, 100, test=True)),
    composites=(Drawn("composites_test", 4, 0, test=True),),
    labelled=("scenes", "scenes_fit"),
    backgrounds=("things",),
    side=48,
    wanted={
        "photographs": Wanted("scenes", Split.TOWER_TRAIN, 4, {}, pseudo=True),
        "scenes_fit": Wanted("scenes_fit", None, 5, TAUGHT, pseudo=True),
        "scenes_test": Wanted("scenes_test", None, 3, DENSE),
        "composites_test": Wanted("composites_test", None, 4, {"classes": "exact-classes"}),
    },
)


@pytest.fixture
def cupboard(monkeypatch: pytest.MonkeyPatch) -> Cupboard:
    """A disc of every category on each side."""
    monkeypatch.setattr(composites, "read_drawings", lambda _data, _packages: EVERY)
    return Cupboard(Path("built"), Path("packages"))


def test_one_call_draws_labels_and_packs_and_the_next_keeps_it_all(
    small_data: Path, cupboard: Cupboard, tmp_path: Path
) -> None:
    run, said = write_run(tmp_path / "runs" / "vit-s", small_data), list[str]()
    path = prepare_study([small_data], cupboard, [run], tmp_path / "study", plan=PLAN, say=said.append)
    pack = load_expert_pack(path)
    assert {name: len(each) for name, each in pack.sets.items()} == {
        "photographs": 4,
        "scenes_fit": 5,
        "scenes_test": 3,
        "composites_test": 4,
    }
    assert pack.sets["photographs"].decoded().shape == (4, 48, 48, 3)
    pseudo = pack.sets["scenes_fit"].maps
    assert {"pseudo-classes", "pseudo-depth", "pseudo-normals", "exact-classes"} <= pseudo.keys()
    assert all(one is not None for one in pseudo["pseudo-depth"].maps)
    first, before = digest_of(path), len(said)
    drawn = {each: each.stat().st_mtime_ns for each in (tmp_path / "study/data").glob("*.parquet")}
    again = prepare_study([small_data], cupboard, [run], tmp_path / "study", plan=PLAN, say=said.append)
    assert digest_of(again) == first
    assert {each: each.stat().st_mtime_ns for each in drawn} == drawn, "a set was drawn anew"
    known = [line for line in said[before:] if "known already" in line]
    assert len(known) == 2 * len(SCENE_EXPERTS)
    assert all(": 0 labelled, 0 failed" in line for line in known)


def test_the_plan_draws_and_labels_all_that_is_wanted_of_it() -> None:
    plan = Plan()
    drawn = {each.name for each in (*plan.scenes, *plan.composites)}
    assert {each.source for each in WANTED.values() if each.exact} == drawn
    assert {each.source for each in WANTED.values() if each.pseudo} == set(plan.labelled)
    seeds = np.concatenate([np.arange(each.seed, each.seed + each.count) for each in plan.scenes])
    assert len(np.unique(seeds)) == len(seeds)
    for name, wanted in WANTED.items():
        found = [each.count for each in (*plan.scenes, *plan.composites) if each.name == wanted.source]
        assert not found or found[0] >= wanted.most, name


def test_what_is_missing_is_told_before_anything_is_drawn(small_data: Path, cupboard: Cupboard, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train or restore it first"):
        prepare_study([small_data], cupboard, [tmp_path / "none"], tmp_path / "study", plan=PLAN)
    run = write_run(tmp_path / "runs" / "vit-s", small_data)
    plan = replace(PLAN, backgrounds=("nowhere",))
    with pytest.raises(DataError, match="no file of nowhere"):
        prepare_study([small_data], cupboard, [run], tmp_path / "study", plan=plan)
    assert not (tmp_path / "study").exists()


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    options = ["--photos", str(tmp_path), "--drawings", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["prepare", *options])
    assert result.exit_code == 1
    assert len(result.output.strip().splitlines()) == 1, result.output
