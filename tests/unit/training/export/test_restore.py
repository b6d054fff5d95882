"""Restoring: a backbone as it is served becomes a training run again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from service.repository import load_zoo
from tests.unit.training.tiny_data import Item, write_source
from training.cli import app
from training.config import ConfigError, load_config
from training.data.rows import DataError
from training.export.backbone import export_graphs, tower_configs
from training.export.errors import ExportError
from training.export.restore import restore_run
from training.export.run import load_run
from training.export.towers import ImageTower
from training.journal import CHECKPOINT, FINAL
from training.models.text import TOKENIZER

pytestmark = pytest.mark.torch

REPOSITORY = Path("model_repository")
CONFIGS = Path("training/configs")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every source that the bundled zoo was trained on, with a dozen pictures."""
    folder = tmp_path_factory.mktemp("photographs")
    names = {name for path in CONFIGS.glob("*.toml") for name in load_config(path).data.sources}
    for start, name in enumerate(sorted(names)):
        write_source(folder, name, [Item(100 * start + i, label=f"thing {i}") for i in range(12)])
    return folder


@pytest.mark.parametrize("name", ["mixer-n", "vit-s"])
def test_exported_again_it_is_the_same_file_to_the_byte(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["restore", name, "--out", str(tmp_path / name)])
    assert result.exit_code == 0, result.output
    backbone = load_run(tmp_path / name)
    image, text = tower_configs(backbone, export_graphs(backbone, "float16"), temperature=1.0)
    (served,) = [each for each in load_zoo(REPOSITORY).backbones if each.name == name]
    assert (image.sha256, text.sha256) == (served.image.config.sha256, served.text.config.sha256)
    assert served.image.config.provenance.startswith(image.provenance)
    assert image.logit_scale == served.logit_scale


@pytest.mark.parametrize("name", ["resnet-l", "hybrid-m"])
def test_statistics_of_batches_are_those_of_the_pictures_that_it_was_trained_on(
    name: str, photographs: Path, tmp_path: Path
) -> None:
    assert restore_run(REPOSITORY, name, tmp_path, (photographs,)) < 1e-6
    backbone = load_run(tmp_path)
    tower = ImageTower(backbone.model, backbone.preprocessing.mean, backbone.preprocessing.std, softened=True)
    norms = [each for each in backbone.model.modules() if isinstance(each, nn.BatchNorm2d)]
    assert norms
    # Pictures of another kind than those that were measured: every layer sees something else.
    strange = torch.full((4, backbone.preprocessing.image_size, backbone.preprocessing.image_size, 3), 255)
    seen: list[torch.Tensor] = []
    hook = norms[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    noise = torch.randint(0, 256, (64, *strange.shape[1:]), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for batch in (noise, strange):
            tower.eval()(batch.to(torch.uint8))
    hook.remove()
    mean, variance = norms[0].get_buffer("running_mean"), norms[0].get_buffer("running_var")
    spread = variance.sqrt()
    near, far = (((each.mean((0, 2, 3)) - mean).abs() / spread).mean() for each in seen)
    assert near < 0.5 * far, "noise is like the pictures of this test, white is not"
    assert 0.3 < (seen[0].var((0, 2, 3)) / variance).median() < 3


def test_normalisation_that_was_folded_away_asks_for_data_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="measured on what it was trained on: pass --data"):
        restore_run(REPOSITORY, "resnet-l", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_data_that_lack_a_source_are_refused(photographs: Path, tmp_path: Path) -> None:
    few = shutil.copytree(photographs, tmp_path / "few")
    (few / "cifar100.parquet").unlink()
    with pytest.raises(DataError, match="no row of cifar100 here, which resnet-l was trained on"):
        restore_run(REPOSITORY, "resnet-l", tmp_path / "run", (few,))
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("name", [FINAL, CHECKPOINT, TOKENIZER])
def test_a_folder_with_a_run_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"of another run")
    with pytest.raises(ExportError, match="is not empty; name another folder"):
        restore_run(REPOSITORY, "mixer-n", tmp_path)
    assert (tmp_path / name).read_bytes() == b"of another run"


def test_a_folder_that_cannot_be_made_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError, match="cannot be written"):
        restore_run(tmp_path / "no repository either", "mixer-n", tmp_path / "file" / "run")


def test_a_backbone_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no backbone 'vit-z'; there are mixer-n, convnext-s"):
        restore_run(REPOSITORY, "vit-z", tmp_path)


def test_what_no_run_made_needs_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"vit-s-both-pyramid\.toml is missing.*--config"):
        restore_run(REPOSITORY, "vit-s-both-pyramid", tmp_path)


@pytest.mark.parametrize(
    ("key", "other", "words"),
    [
        ('family = "mixer"', 'family = "vit"', "not what mixer-n was trained by"),
        ("seed = ", "seed = 9", "not what mixer-n was trained by"),
        ('name = "mixer-n"', 'name = "mixer-z"', "not what mixer-n was trained by"),
        ('model = "mixer-n"', 'model = "nope"', "unknown model configuration"),
        ('model = "mixer-n"', 'model = "vit-s"', "its tokenizer does not belong to a vit-s"),
        ('model = "mixer-n"', 'model = "convnext-s"', "not a graph that today's exporter writes"),
    ],
)
def test_a_configuration_that_it_was_not_trained_by_is_refused(
    key: str, other: str, words: str, tmp_path: Path
) -> None:
    text = (CONFIGS / "mixer-n.toml").read_text()
    assert key in text
    config = tmp_path / "mixer-n.toml"
    config.write_text(text.replace(key, other, 1))
    with pytest.raises(ExportError, match=words):
        restore_run(REPOSITORY, "mixer-n", tmp_path / "run", None, config)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_configuration_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("name = 1")
    with pytest.raises(ConfigError):
        restore_run(REPOSITORY, "mixer-n", tmp_path / "run", None, tmp_path / "none.toml")


@pytest.mark.parametrize("part", ["mixer-n_image/1/model.onnx", "mixer-n_text/tokenizer.json"])
def test_a_damaged_repository_is_refused_in_a_sentence(part: str, tmp_path: Path) -> None:
    damaged = tmp_path / "repository"
    shutil.copytree(REPOSITORY, damaged)
    with (damaged / part).open("ab") as file:
        file.write(b"x")
    result = CliRunner().invoke(app, ["restore", "mixer-n", "--repository", str(damaged), "--out", str(tmp_path / "r")])
    assert result.exit_code == 1
    assert part.partition("/")[0] in result.output
    assert len(result.output.strip().splitlines()) == 1
