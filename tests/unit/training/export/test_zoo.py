"""Whole zoos: what is refused before any work, and what a failure leaves."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.repository import load_zoo
from tests.contract.random_zoo import bundled_run
from tests.unit.training.export.conftest import Exported
from tests.unit.training.tiny_data import write_small_data
from training.export.errors import ExportError
from training.export.recipe import Member, OpenClipMember, RunMember
from training.export.run import CONFIGS, load_run, random_run
from training.export.zoo import export_zoo

pytestmark = pytest.mark.torch

# Random weights need a run's configuration alone, which the bundled recipe's runs have here.
RUN = Path("runs") / bundled_run()
MEMBER = RunMember(run=RUN, licence="none")


def refused(members: list[Member], tmp_path: Path, *, random_seed: int | None = 0) -> str:
    """The message that stops an export before it has written anything."""
    with pytest.raises(ExportError) as caught:
        list(export_zoo(members, tmp_path / "repository", random_seed=random_seed))
    assert not (tmp_path / "repository").exists()
    return str(caught.value)


def test_two_backbones_of_one_name_are_refused(tmp_path: Path) -> None:
    message = refused([MEMBER, replace(MEMBER, precision="float32")], tmp_path)
    assert message.startswith(f'2 backbones are called "{RUN.name}-random"')


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", ".hidden", "two words", "ä"])
def test_a_name_that_is_no_folder_name_is_refused(name: str, tmp_path: Path) -> None:
    assert "is no name for a backbone" in refused([replace(MEMBER, name=name)], tmp_path)


def test_a_run_that_is_missing_stops_everything_before_anything_is_written(tmp_path: Path) -> None:
    missing = RunMember(run=tmp_path / "no-such-run")
    assert "no-such-run: no final.safetensors" in refused([missing], tmp_path, random_seed=None)
    assert "no-such-run.toml is missing" in refused([MEMBER, missing], tmp_path)


def test_int8_without_pictures_is_refused(tmp_path: Path) -> None:
    message = refused([replace(MEMBER, precision="int8")], tmp_path)
    assert message == f"{RUN.name}-random: int8 is calibrated on pictures: pass --data."


def test_an_openclip_model_without_a_tag_is_refused_unless_weights_are_random(tmp_path: Path) -> None:
    message = refused([OpenClipMember(openclip="RN50-quickgelu")], tmp_path, random_seed=None)
    assert message.startswith("RN50-quickgelu needs the tag of its weights, as RN50-quickgelu:TAG")
    assert "openai" in message


def test_a_member_that_fails_is_named_and_leaves_those_before_it(tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "data")
    members = [replace(MEMBER, name="first"), replace(MEMBER, name="second", precision="int8")]
    exporting = export_zoo(members, tmp_path / "repository", data_dir=data, random_seed=0)
    assert "first-random_image: " in next(exporting)
    with pytest.raises(ExportError, match="second-random: int8 needs at least 16 pictures"):
        next(exporting)
    (backbone,) = load_zoo(tmp_path / "repository").backbones
    assert backbone.name == "first-random"
    assert backbone.image.config.provenance == "random weights, seed 0; weights stored as float16; licence: none"


def test_what_the_repository_held_before_stays_and_is_named(exported: Exported, tmp_path: Path) -> None:
    repository = Path(shutil.copytree(exported.repository, tmp_path / "repository"))
    lines = list(export_zoo([MEMBER], repository, random_seed=0))
    assert lines[-1] == f"{repository} also holds what was there before: tiny"
    assert sorted(load_zoo(repository).names) == sorted([f"{RUN.name}-random", "tiny"])


def test_random_weights_follow_from_the_seed() -> None:
    same, again, other = (random_run(RUN, seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert not all(torch.equal(same[name], other[name]) for name in same)


def test_weights_that_do_not_fit_the_model_of_today_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tomllib.loads((CONFIGS / f"{RUN.name}.toml").read_text())
    monkeypatch.setattr("training.export.run.load_average", lambda _: ({"a": torch.zeros(1)}, {"config": config}))
    for name in ("final.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    with pytest.raises(ExportError, match=r"its weights do not fit the model '.*' of today"):
        load_run(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ExportError, match=r"no tokenizer\.json here"):
        load_run(tmp_path)
