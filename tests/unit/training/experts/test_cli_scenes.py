"""Commands around scenes, from drawing to a sheet of answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from training.experts.__main__ import app
from training.experts.labels.store import LabelStore
from training.experts.protocol import Kind

pytestmark = pytest.mark.torch


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for name, seed, split in (("learnt", 10, "train"), ("kept", 80, "test")):
        found = run(
            "scenes", "--out", folder, "--name", name, "--count", 4, "--seed", seed, "--size", 32, "--split", split
        )
        assert found.exit_code == 0, found.stderr
        assert found.stdout == f"{folder / name}.parquet: 4 scenes of 32 pixels\n"
    return folder


def test_from_scenes_to_an_expert_to_labels_and_a_sheet(pair: Path, tmp_path: Path) -> None:
    out = tmp_path / "depth"
    options = (
        "--data",
        pair,
        "--source",
        "learnt",
        "--held-out",
        "kept",
        "--epochs",
        1,
        "--batch-size",
        2,
        "--device",
        "cpu",
    )
    trained = run("train", "depth", *options, "--out", out)
    assert trained.exit_code == 0, trained.stderr
    assert trained.stdout.startswith(f"{out}: absolute relative error ")
    accuracy = json.loads((out / "accuracy.json").read_text("utf-8"))
    assert accuracy["held_out"] == "kept"
    assert set(accuracy["expert"]) == set(accuracy["baseline"])
    assert run("train", "depth", *options, "--out", out).stdout == trained.stdout

    labelled = run(
        *("label", "--expert", "scene-depth", "--weights", out, "--data", pair, "--source", "kept"),
        *("--size", 32, "--out", tmp_path / "labels", "--device", "cpu"),
    )
    assert labelled.exit_code == 0, labelled.stderr
    assert LabelStore(tmp_path / "labels" / "scene-depth").description.identity.kind is Kind.DISPARITY

    page = tmp_path / "sheet.png"
    shown = run(
        "sheet", "--weights", out, "--data", pair, "--source", "kept", "--out", page, "--count", 2, "--size", 32
    )
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout == f"{page}: 2 pictures; licences: drawn by this project\n"
    assert page.is_file()


def test_labels_may_be_of_squashed_pictures(pair: Path, tmp_path: Path) -> None:
    """As some towers of OpenCLIP see them."""
    options = ("--data", pair, "--source", "kept", "--size", 32, "--out", tmp_path, "--device", "cpu")
    assert run("label", "--expert", "scene-normals", *options, "--resize", "squash").exit_code == 0
    assert LabelStore(tmp_path / "scene-normals").description.geometry.startswith("squash-")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "smell"], 'no task is called "smell"; there are classes, depth, normals'),
        (
            ["train", "depth", "--source", "learnt", "--held-out", "none"],
            "DATA/labels/none/exact-disparity: no exact labels",
        ),
        (["train", "depth", "--source", "none"], "DATA/labels/none/exact-disparity: no exact labels of none here"),
        (["sheet", "--weights", "OUT", "--source", "learnt"], "OUT/expert.safetensors: no such file"),
        (
            ["label", "--expert", "scene-depth", "--weights", "OUT", "--source", "learnt"],
            "OUT/expert.safetensors: no such file",
        ),
    ],
)
def test_wrong_options_are_one_sentence(pair: Path, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    named = [each.replace("OUT", str(tmp_path / "out")) for each in arguments]
    quick = ["--epochs", "1"] if arguments[0] == "train" else []
    result = run(*named, *quick, "--data", pair, "--out", tmp_path / "out")
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {sentence.replace('DATA', str(pair)).replace('OUT', str(tmp_path / 'out'))}")


def test_photographs_need_a_folder_and_names(pair: Path, small_data: Path) -> None:
    for options in (["--data", small_data], ["--backgrounds", "things"]):
        result = run("scenes", "--out", pair, "--name", "new", "--count", 1, "--seed", 0, *options)
        assert result.exit_code == 1
        assert result.stderr == "error: photographs behind scenes need both --data and --backgrounds.\n"
