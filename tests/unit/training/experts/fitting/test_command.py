"""`python -m training.experts fit`, from rows and labels on disk to a backbone that is exported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import pytest
import torch
from typer.testing import CliRunner, Result

from service.repository import load_zoo
from tests.unit.training.adapters.conftest import small_run as small_run
from tests.unit.training.data.test_lazy_rows import write_shards
from tests.unit.training.data.test_webdataset import write_shard
from tests.unit.training.experts.fitting.test_served import _tower
from tests.unit.training.experts.labelled_data import THREE, NamedExpert, write_labels
from tests.unit.training.experts.made_up_experts import SEEN
from training.checkpoint import CheckpointError, load_tensors
from training.config import ConfigError
from training.curve import read_curve
from training.data.lazy_rows import choose_rows
from training.data.sources import available_sources, read_rows
from training.data.splits import Split
from training.distributed import World
from training.evaluate.provenance import fitted_sources
from training.experts.__main__ import app
from training.experts.errors import ExpertError
from training.experts.fitting.command import TASKS, FitData, FitOrder, class_weights, fit_on_data, make_config
from training.experts.fitting.config import FitSchedule
from training.experts.fitting.feed import Feed
from training.experts.fitting.run import CHECKPOINT, CURVE, MODEL, PLOT, TERMS, fit_model, load_fitted
from training.experts.fitting.served import command_of, fitted_backbone
from training.experts.fitting.terms import read_terms
from training.experts.labels.run import LabelSettings, label_rows
from training.experts.labels.targets import open_labels
from training.experts.locks import alone
from training.experts.protocol import Dense, Kind, Pictures
from training.export.adapted import load_any_run
from training.export.backbone import Backbone
from training.export.errors import ExportError
from training.export.graph import checked_parity, export_graph
from training.export.openclip import load_openclip
from training.export.recipe import RunMember
from training.export.run import load_run
from training.export.zoo import export_zoo

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
SCHEDULE = FitSchedule(epochs=1, batch_size=16, warmup_steps=2, peak_lr=1e-3, checkpoint_steps=2)
ORDER = FitOrder(schedule=SCHEDULE)
OFF = ("--without", "classes", "--without", "depth", "--without", "normals")


@pytest.fixture(scope="module")
def data(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions in a Parquet file and in shards, with labels of both."""
    folder = tmp_path_factory.mktemp("fit-data")
    (folder / "scenes.parquet").write_bytes((small_data / "scenes.parquet").read_bytes())
    write_shards(folder, shards=2, pictures=24)
    write_labels(read_rows(folder, available_sources(folder)), folder / "labels")
    return folder


def _what(data: Path, **changed: Any) -> FitData:
    return replace(FitData(data=data, labels=(data / "labels",), index=data / "index"), **changed)


def _fit(
    run: Path, data: Path, folder: Path, order: FitOrder = ORDER, stop_at: int | None = None, **changed: Any
) -> None:
    what = _what(data, **changed)
    fit_on_data(load_run(run), str(run), what, order, folder, device=CPU, stop_at=stop_at)


def _losses(folder: Path) -> list[tuple[float, float]]:
    return [(row["step"], row["loss"]) for row in read_curve(folder / CURVE)]


@pytest.fixture(scope="module")
def finished(small_run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fits") / "whole"
    _fit(small_run, data, folder)
    return folder


def _invoke(run: Path, data: Path, *options: str | Path) -> Result:
    start = ["fit", "--run", str(run), "--data", str(data), "--index", str(data / "index")]
    return CliRunner().invoke(app, [*start, *map(str, options)])


def test_a_fit_leaves_what_the_fits_of_the_study_leave(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {CHECKPOINT, MODEL, CURVE, TERMS, PLOT}
    assert set(read_terms(finished / TERMS)) == {"clip", "classes", "depth", "normals"}
    _, config, metadata = load_fitted(finished)
    assert (config.classes, config.depth_form, config.sides) == (3, "inverse", (64,))
    about = metadata["about"]
    assert (about["sources"], about["splits"]) == (["scenes", "web"], ["tower-train"])
    assert about["labels"]["depth"]["expert"] == "made-depth"
    assert about["labels"]["depth"]["pictures"] == metadata["images"]


def test_an_interrupted_fit_goes_on_as_if_nothing_had_happened(
    small_run: Path, data: Path, finished: Path, tmp_path: Path
) -> None:
    _fit(small_run, data, tmp_path, stop_at=2)
    assert not (tmp_path / MODEL).exists()
    _fit(small_run, data, tmp_path)
    assert _losses(tmp_path) == _losses(finished)
    one, two = (load_fitted(folder)[0] for folder in (finished, tmp_path))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_fit_of_other_data_is_another_fit(small_run: Path, data: Path, tmp_path: Path) -> None:
    _fit(small_run, data, tmp_path, stop_at=1)
    with pytest.raises(CheckpointError, match="belongs to another fit"):
        _fit(small_run, data, tmp_path, splits=(Split.TOWER_TRAIN, Split.FIT))
    classes = data / "labels" / "made-classes"
    with pytest.raises(CheckpointError, match="belongs to another fit"):
        _fit(small_run, data, tmp_path, replace(ORDER, without=frozenset({"depth", "normals"})), labels=(classes,))


def test_the_experts_decide_heads_and_the_form_of_depth(small_run: Path, data: Path, tmp_path: Path) -> None:
    rows = list(read_rows(data, ("web",)))
    write_labels(rows, tmp_path / "labels", [Kind.DISPARITY], size=32)
    order = replace(ORDER, without=frozenset({"classes", "normals"}), sides=(48, 64))
    _fit(small_run, data, tmp_path / "fit", order, sources=("web",), labels=(tmp_path / "labels",))
    _, config, _ = load_fitted(tmp_path / "fit")
    assert (config.classes, config.depth_form, config.sides) == (0, "median", (48, 64))
    assert load_any_run(tmp_path / "fit").preprocessing.image_size == 48


def test_rare_classes_count_more_where_that_is_asked_for(small_run: Path, data: Path, tmp_path: Path) -> None:
    def mostly_red(images: Pictures) -> Dense:
        found = np.zeros(images.shape[:3], np.uint8)
        found[:, :8, :32] = 1
        return found

    rows = list(read_rows(data, ("web",)))
    label_rows(rows, NamedExpert(mostly_red), tmp_path / "labels", LabelSettings(replace(SEEN, image_size=64)))
    order = replace(ORDER, without=frozenset({"depth", "normals"}), balance=1.0)
    _fit(small_run, data, tmp_path / "fit", order, stop_at=1, labels=(tmp_path / "labels",), sources=("web",))
    weights = load_tensors(tmp_path / "fit" / CHECKPOINT)[1]["config"]["class_weights"]
    # One sixteenth is green; blue, which nothing is, counts as the rarest.
    assert weights == pytest.approx([8 / 15, 8, 8], rel=1e-4)
    (labels,) = open_labels([tmp_path / "labels"])
    chosen = choose_rows(data, (Split.TOWER_TRAIN,), ("web",), data / "index")
    assert class_weights(labels, chosen, 0.0) == ()
    assert class_weights(labels, chosen, 0.5) == pytest.approx([0.847773, 3.283412, 3.283412], rel=1e-4)


def test_pictures_that_could_not_be_labelled_for_being_broken_are_left_out(small_run: Path, tmp_path: Path) -> None:
    write_shards(tmp_path, shards=1, pictures=24)
    broken = {f"{i}.{kind}": content for i in range(9) for kind, content in (("png", b"no %d" % i), ("txt", b"text"))}
    write_shard(tmp_path / "broken.tar", broken)
    write_labels(read_rows(tmp_path, available_sources(tmp_path)), tmp_path / "labels", [Kind.DEPTH])
    order = replace(ORDER, without=frozenset({"classes", "normals"}))
    lines: list[str] = []
    what = FitData(data=tmp_path, labels=(tmp_path / "labels",), index=tmp_path / "index")
    fit_on_data(load_run(small_run), str(small_run), what, order, tmp_path / "fit", device=CPU, show=lines.append)
    assert "left out that cannot be decoded" in lines[0]
    assert lines[0].endswith("labels: depth of 20 by made-depth") or " of web " in lines[0]


def test_a_fit_is_exported_as_any_run_and_says_what_it_learnt_from(finished: Path, tmp_path: Path) -> None:
    (lines,) = export_zoo([RunMember(run=finished)], tmp_path / "zoo")
    assert "small-cliptex_image: " in lines
    (backbone,) = load_zoo(tmp_path / "zoo").backbones
    text = backbone.image.config.provenance
    assert backbone.name == "small-cliptex"
    assert fitted_sources(text) == {"scenes", "web"}
    experts = "segmentation by made-classes, depth by made-depth, normals by made-normals"
    assert f"fine-tuned with experts ({experts}) on " in text
    assert str(finished.parent.parent) not in text  # no path of this machine
    assert (
        "; python -m training.experts fit --backbone small --data DATA --source scenes --source web --labels LABELS "
        "--side 64 --epochs 1 --batch-size 16 --rate 0.001 --warmup 2; weights stored"
    ) in text


def test_the_command_in_the_provenance_makes_the_same_configuration(
    small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ["--backbone", "NAME:TAG", "--data", "DATA", "--source", "web", "--split", "tower-train", "--split", "fit"]
    said += ["--labels", "LABELS", "--side", "64", "--side", "48", "--weight", "classes=0.2", "--without", "depth"]
    said += ["--weight", "normals=0.25", "--layers", "3", "--epochs", "2", "--batch-size", "8", "--rate", "0.0001"]
    said += ["--warmup", "5", "--seed", "7", "--bf16"]
    seen: dict[str, Any] = {}

    def note(backbone: Backbone, target: str, what: FitData, order: FitOrder, *_: object, **__: object) -> None:
        config = make_config(target, replace(order, without=order.without | {"classes"}), {}, backbone)
        seen["config"] = replace(config, classes=3, weights=replace(order.weights, depth=0.0))
        seen["about"] = {"sources": what.sources, "splits": [str(each) for each in what.splits]}
        raise ConfigError("that is all")

    monkeypatch.setattr("training.experts.fitting.command.fit_on_data", note)
    monkeypatch.setattr("training.adapters.command.load_backbone", lambda _: load_run(small_run))
    CliRunner().invoke(app, ["fit", *said])
    assert command_of(**seen) == " ".join(["python -m training.experts fit", *said])


def test_a_fit_that_saw_fit_rows_has_its_temperature_from_others(small_run: Path, data: Path, tmp_path: Path) -> None:
    assert load_any_run(small_run).adapted_to == ()
    _fit(small_run, data, tmp_path, splits=(Split.TOWER_TRAIN, Split.FIT))
    assert load_any_run(tmp_path).adapted_to == ("scenes", "web")


def test_an_unfinished_fit_is_not_exported(small_run: Path, data: Path, tmp_path: Path) -> None:
    _fit(small_run, data, tmp_path, stop_at=1)
    with pytest.raises(CheckpointError, match="not finished"):
        load_any_run(tmp_path)


def test_a_fit_whose_beginning_is_gone_is_not_exported(small_run: Path, data: Path, tmp_path: Path) -> None:
    base = load_run(small_run)
    fit_on_data(base, str(tmp_path / "gone"), _what(data), ORDER, tmp_path / "fit", device=CPU)
    with pytest.raises(ExportError, match="gone"):
        load_any_run(tmp_path / "fit")


TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def test_the_recipe_for_open_clip_holds_on_a_slice(data: Path, tmp_path: Path) -> None:
    """A model by OpenCLIP's own code and tokenizer, shards as crawls come, pictures larger than its own."""
    (tmp_path / "tiny-cliptex.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path / "tiny-cliptex.json")
    base = load_openclip("tiny-cliptex", None, random_weights=True)
    order = replace(ORDER, sides=(64, 48))
    run = fit_on_data(base, "tiny", _what(data, sources=("web",)), order, tmp_path / "fit", device=CPU)
    assert run.state.step == run.total > 1
    again = load_openclip("tiny-cliptex", None, random_weights=True)
    served: Backbone = fitted_backbone(again, tmp_path / "fit", side=64)
    tower, pictures = _tower(served)
    checked_parity(tower, export_graph(tower, pictures, "image"), pictures)


def test_the_command_fits_without_and_with_experts(small_run: Path, data: Path, tmp_path: Path) -> None:
    short = ("--epochs", "1", "--batch-size", "16", "--side", "64")
    done = _invoke(small_run, data, *short, *OFF, "--out", tmp_path / "ft")
    assert done.exit_code == 0, done.output
    assert "pictures of scenes, web; labels: none" in done.stderr
    labels = ("--labels", data / "labels", "--weight", "depth=0.5")
    done = _invoke(small_run, data, *short, *labels, "--source", "web", "--out", tmp_path / "cliptex")
    assert done.exit_code == 0, done.output
    assert "normals of" in done.stderr
    assert load_fitted(tmp_path / "cliptex")[1].weights.depth == 0.5
    assert [load_any_run(tmp_path / name).name for name in ("ft", "cliptex")] == ["small-ft", "small-cliptex"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--source", "cc3m", *OFF], 'there is no source "cc3m" here; there are scenes, web'),
        ([], "there are no labels for classes, depth, normals: give their folders as --labels, or --without classes"),
        (["--without", "boxes"], 'there is no task "boxes"; there are classes, depth, normals'),
        (
            [*OFF, "--weight", "clip=0"],
            "nothing is switched on: loss weights are not negative, and one",
        ),
        (["--weight", "depth"], '--weight depth: write a term and its factor, as "depth=0.5"'),
        (["--weight", "boxes=1"], '--weight boxes=1: there is no term "boxes"'),
        ([*OFF, "--split", "test"], "--split test: nothing is fitted on it"),
        ([*OFF, "--side", "50"], "this transformer takes pictures whose side is a multiple of 8 pixels, not 50"),
        ([*OFF, "--layers", "2"], "--layers: heads have 1 or 3 layers"),
    ],
)
def test_wrong_options_are_one_sentence(
    small_run: Path, data: Path, tmp_path: Path, options: list[str], sentence: str
) -> None:
    result = _invoke(small_run, data, *options, "--out", tmp_path)
    assert result.exit_code == 1
    assert f"error: {sentence}" in result.stderr
    assert result.stdout == ""


def test_labels_of_pictures_cut_another_way_are_refused(small_run: Path, data: Path, tmp_path: Path) -> None:
    rows = list(read_rows(data, ("web",)))[:3]
    write_labels(rows, tmp_path / "labels", THREE, size=16, mode="squash")
    result = _invoke(small_run, data, "--labels", tmp_path / "labels", "--out", tmp_path / "fit")
    assert "cut another way (squash-16-bicubic) than those of small (shortest-64-bicubic)" in result.stderr


def test_labels_of_other_pictures_are_refused(small_run: Path, data: Path, tmp_path: Path) -> None:
    write_labels(list(read_rows(data, ("web",)))[:3], tmp_path / "labels", THREE, size=16)
    options = ("--labels", tmp_path / "labels", "--source", "scenes", "--out", tmp_path / "fit")
    assert "has labels for none of the" in _invoke(small_run, data, *options).stderr


def test_a_segmentation_expert_without_class_names_is_refused(small_run: Path, data: Path, tmp_path: Path) -> None:
    write_labels(list(read_rows(data, ("web",)))[:3], tmp_path / "labels", [Kind.CLASSES], size=16)
    path = tmp_path / "labels" / "made-classes" / "expert.json"
    description = json.loads(path.read_text())
    description["identity"]["classes"] = []
    path.write_text(json.dumps(description))
    options = ("--labels", tmp_path / "labels", "--without", "depth", "--without", "normals")
    assert "made-classes names 0 classes; segmentation needs two" in _invoke(small_run, data, *options).stderr


def test_two_processes_take_the_steps_of_one(small_run: Path, data: Path, tmp_path: Path) -> None:
    """Half of the pictures have labels, so that the processes know unequally much of their parts."""
    rows = [row for row in read_rows(data, ("scenes", "web")) if int(row.digest, 16) % 2]
    labels = write_labels(rows, tmp_path / "labels", size=64)
    options = ["fit", "--backbone", str(small_run), "--data", str(data), "--index", str(tmp_path / "index")]
    options += ["--labels", str(labels), "--epochs", "2", "--batch-size", "16", "--rate", "1e-4", "--warmup", "2"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, start in (("one", []), ("two", torchrun)):
        command = [sys.executable, *start, "-m", "training.experts", *options, "--out", str(tmp_path / name)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=250)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("steps on") == 1
    one, two = (dict(_losses(tmp_path / name)) for name in ("one", "two"))
    assert len(one) > 4
    assert two == pytest.approx(one, rel=1e-3)
    terms = [read_terms(tmp_path / name / TERMS) for name in ("one", "two")]
    for name, values in terms[0].items():
        assert dict(terms[1][name]) == pytest.approx(dict(values), rel=2e-3), name
    weights = [load_fitted(tmp_path / name)[0] for name in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=2e-3)


@pytest.mark.parametrize("option", [("--rate", "nan"), ("--rate", "inf"), ("--weight", "depth=nan")])
def test_what_is_no_number_is_refused(small_run: Path, data: Path, tmp_path: Path, option: tuple[str, str]) -> None:
    result = _invoke(small_run, data, *OFF, *option, "--out", tmp_path / "fit")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {option[0]}")
    assert not (tmp_path / "fit").exists()


def test_a_loss_that_is_lost_is_one_sentence(small_run: Path, data: Path, tmp_path: Path) -> None:
    result = _invoke(
        small_run, data, *OFF, "--rate", "1e30", "--warmup", "0", "--epochs", "2", "--out", tmp_path / "fit"
    )
    assert result.exit_code == 1
    assert "error: " in result.stderr
    assert "begin anew in another folder, with a lower --rate" in result.stderr


def test_a_model_that_processes_cannot_share_is_one_sentence(small_run: Path, tmp_path: Path) -> None:
    model = load_run(small_run).model
    cast(torch.nn.Module, model.visual).add_module("norm", torch.nn.BatchNorm2d(3))
    config = make_config(str(small_run), replace(ORDER, without=frozenset(TASKS)), {}, load_run(small_run))
    with pytest.raises(ExpertError, match=r"visual\.norm: a BatchNorm2d cannot be shared among processes; fit it with"):
        fit_model(model, cast(Feed, ()), config, tmp_path, world=World(0, 2))


def test_two_fits_do_not_write_into_one_folder(small_run: Path, data: Path, tmp_path: Path) -> None:
    with alone(tmp_path, "held"), pytest.raises(ExpertError, match="another process fits here"):
        _fit(small_run, data, tmp_path)


def test_a_checkpoint_that_cannot_be_read_is_named(small_run: Path, data: Path, tmp_path: Path) -> None:
    _fit(small_run, data, tmp_path, stop_at=1)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: cannot be read .*; remove it"):
        _fit(small_run, data, tmp_path)
