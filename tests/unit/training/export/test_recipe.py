"""Recipes of zoos, and what a word on the command line stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest

from tests.conftest import ROOT
from training.adapters import design
from training.export.errors import ExportError
from training.export.openclip import check_openclip
from training.export.recipe import OpenClipMember, RunMember, load_recipe, members_of, parse_recipe

pytestmark = pytest.mark.torch

ZOOS = ROOT / "training/zoos"
RUN = {"run": "runs/a", "licence": "MIT"}
OPENCLIP = {"openclip": "RN50-quickgelu", "pretrained": "openai", "licence": "MIT"}

# Input sizes as OpenAI published them with the models.
OPENAI_SIZES = {
    "RN50-quickgelu": 224,
    "RN101-quickgelu": 224,
    "RN50x4-quickgelu": 288,
    "RN50x16-quickgelu": 384,
    "RN50x64-quickgelu": 448,
    "ViT-B-32-quickgelu": 224,
    "ViT-B-16-quickgelu": 224,
    "ViT-L-14-quickgelu": 224,
    "ViT-L-14-336-quickgelu": 336,
}


def openclip_members(recipe: str) -> list[OpenClipMember]:
    return [member for member in load_recipe(ZOOS / f"{recipe}.toml") if isinstance(member, OpenClipMember)]


def test_runs_and_openclip_models_may_be_mixed_and_keep_their_order() -> None:
    members = parse_recipe({"backbones": [OPENCLIP, RUN | {"name": "b"}]}, "here")
    assert members == (
        OpenClipMember(openclip="RN50-quickgelu", pretrained="openai", licence="MIT", precision="float32"),
        RunMember(run=Path("runs/a"), name="b", licence="MIT", precision="float16"),
    )


def test_what_a_backbone_says_itself_comes_before_what_is_said_for_all() -> None:
    own = {"run": "runs/b", "precision": "int8", "licence": "none"}
    first, second = parse_recipe(
        {"precision": "float32", "licence": "MIT", "backbones": [{"run": "runs/a"}, own]}, "here"
    )
    assert (first.precision, first.licence) == ("float32", "MIT")
    assert (second.precision, second.licence) == ("int8", "none")


def test_a_member_may_vote_when_asked_alone() -> None:
    first, second = parse_recipe({"backbones": [RUN, OPENCLIP | {"votes": "when_asked"}]}, "here")
    assert (first.votes, second.votes) == ("by_default", "when_asked")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, r"here: backbones: needs at least one \[\[backbones\]\] table"),
        ({"backbones": []}, "here: backbones: needs at least one"),
        ({"backbones": "all"}, "here: backbones: needs at least one"),
        ({"backbones": [RUN], "half": True}, "here: unknown key half; known: backbones, precision, licence"),
        ({"backbones": [RUN, RUN | {"presicion": "int8"}]}, r"here: backbones\[2\]: unknown key presicion"),
        ({"backbones": [RUN | {"precision": "float8"}]}, "precision: 'float8' is not one of float32, float16, int8"),
        ({"backbones": [RUN | {"votes": "twice"}]}, "votes: 'twice' is not one of by_default, when_asked"),
        ({"backbones": [RUN | {"name": ""}]}, "name: must be a text that is not empty"),
        ({"backbones": [RUN | {"name": 5}]}, "name: must be a text"),
        ({"backbones": [{"run": "runs/a"}]}, r"backbones\[1\]: licence: missing"),
        ({"backbones": [{"licence": "MIT"}]}, 'needs either "run" or "openclip"'),
        ({"backbones": [RUN | OPENCLIP]}, 'needs either "run" or "openclip"'),
        ({"backbones": [RUN | {"pretrained": "openai"}]}, "a run has its own"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said_with_its_place(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ExportError, match=problem):
        parse_recipe(table, "here")


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"none\.toml: cannot be read \(No such file or directory\)"):
        load_recipe(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[[backbones]\n")
    with pytest.raises(ExportError, match=r"broken\.toml: not TOML"):
        load_recipe(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(ExportError, match=r"broken\.toml: not TOML"):
        load_recipe(broken)


def test_a_word_stands_for_a_recipe_a_run_or_an_openclip_model(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('licence = "MIT"\n[[backbones]]\nrun = "runs/a"\n[[backbones]]\nrun = "runs/b"\n')
    assert [member.licence for member in members_of(str(recipe), None)] == ["MIT", "MIT"]
    assert members_of(str(tmp_path), None) == (RunMember(run=tmp_path),)
    assert members_of("runs/missing", None) == (RunMember(run=Path("runs/missing")),)
    assert members_of("RN50:cc12m", None) == (OpenClipMember(openclip="RN50", pretrained="cc12m"),)
    assert members_of("RN50", None) == (OpenClipMember(openclip="RN50"),)


def test_a_precision_on_the_command_line_replaces_the_recipes(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('licence = "MIT"\nprecision = "float16"\n[[backbones]]\nrun = "runs/a"\n')
    (member,) = members_of(str(recipe), "int8")
    assert member.precision == "int8"


@pytest.mark.parametrize("path", sorted(ZOOS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_committed_recipe_can_be_read_and_says_its_command(path: Path) -> None:
    members = load_recipe(path)
    names = [member.name for member in members if member.name]
    assert len(set(names)) == len(names)
    command = f"# python -m training export training/zoos/{path.name}"
    assert path.read_text().startswith(command)


def test_all_nine_openai_models_are_there_with_quickgelu_and_their_sizes() -> None:
    members = openclip_members("openai-all")
    assert {member.openclip for member in members} == set(OPENAI_SIZES)
    published = {model for model, tag in open_clip.list_pretrained() if tag == "openai"}
    assert set(OPENAI_SIZES) == {model for model in published if model.endswith("-quickgelu")}
    for member in members:
        check_openclip(member.openclip, member.pretrained, random_weights=False)
        config = open_clip.get_model_config(member.openclip)
        assert member.pretrained == "openai"
        assert config["quick_gelu"]
        assert config["vision_cfg"]["image_size"] == OPENAI_SIZES[member.openclip], member.openclip


def test_the_small_openai_recipe_is_a_part_of_the_whole_one() -> None:
    small, whole = openclip_members("openai-small"), openclip_members("openai-all")
    assert [member.name for member in small] == ["rn50", "rn101", "vit-b-32", "vit-b-16"]
    assert all(member in whole for member in small)


def test_the_mixed_recipe_names_weights_that_exist_of_clip_and_of_siglip() -> None:
    members = openclip_members("openclip-mixed")
    for member in members:
        check_openclip(member.openclip, member.pretrained, random_weights=False)
    siglip = {"SigLIP" in member.openclip for member in members}
    assert siglip == {True, False}


def test_the_bundled_recipe_names_runs_that_the_configurations_here_make() -> None:
    trained = {path.stem for path in (ROOT / "training/configs").glob("*.toml")}
    for member in load_recipe(ZOOS / "bundled.toml"):
        assert isinstance(member, RunMember)
        assert "NOTICE" in member.licence
        base, *adapter = [name for name in trained if f"{member.run.name}-".startswith(f"{name}-")]
        assert not adapter
        if member.run.name != base:  # as `adapt` and `experts fit` name their folders
            made = member.run.name.removeprefix(f"{base}-")
            assert made == "cliptex" or design(made).kind != "none"
            assert member.votes == "when_asked"
