"""Restoring: a backbone as it is served becomes a training run again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.repository import load_zoo
from training.checkpoint import load_average
from training.cli import app
from training.config import ConfigError
from training.data.rows import DataError
from training.export.backbone import export_graphs, tower_configs
from training.export.errors import ExportError
from training.export.restore import restore_run
from training.export.run import load_run
from training.journal import FINAL

pytestmark = pytest.mark.torch

REPOSITORY = Path("model_repository")


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled `mixer-n`, by the command."""
    folder = tmp_path_factory.mktemp("runs") / "mixer-n"
    result = CliRunner().invoke(app, ["restore", "mixer-n", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    assert "within 0.0e+00 of what is served" in result.output
    return folder


def test_exported_again_it_is_the_same_file_to_the_byte(restored: Path) -> None:
    backbone = load_run(restored)
    image, text = tower_configs(backbone, export_graphs(backbone, "float16"), temperature=1.0)
    (served,) = [each for each in load_zoo(REPOSITORY).backbones if each.name == "mixer-n"]
    assert (image.sha256, text.sha256) == (served.image.config.sha256, served.text.config.sha256)
    assert served.image.config.provenance.startswith(image.provenance)
    assert image.logit_scale == served.logit_scale


def test_nothing_is_left_as_it_was_drawn(restored: Path) -> None:
    weights, metadata = load_average(restored / FINAL)
    drawn = [key for key, value in weights.items() if value.numel() > 1 and ((value >= 0.05) & (value <= 0.15)).all()]
    assert drawn == [], "where numbers that stand in for weights lie"
    assert metadata["images"] > 0


def test_a_run_that_is_there_is_not_replaced(restored: Path) -> None:
    before = (restored / FINAL).read_bytes()
    with pytest.raises(ExportError, match="already; name another folder"):
        restore_run(REPOSITORY, "mixer-n", restored)
    assert (restored / FINAL).read_bytes() == before


def test_normalisation_that_was_folded_away_asks_for_data_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="measured on what it was trained on: pass --data"):
        restore_run(REPOSITORY, "resnet-l", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_with_data_its_statistics_are_those_of_what_reaches_it(small_data: Path, tmp_path: Path) -> None:
    config = tmp_path / "resnet-l.toml"
    lines = Path("training/configs/resnet-l.toml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("sources", "source_weights"))]
    kept.insert(kept.index("[data]") + 1, 'sources = ["objects", "scenes", "things"]')
    config.write_text("\n".join(kept))
    assert restore_run(REPOSITORY, "resnet-l", tmp_path / "run", (small_data,), config) < 1e-6
    weights, _ = load_average(tmp_path / "run" / FINAL)
    variances = [value for key, value in weights.items() if key.endswith("running_var")]
    assert len(variances) == 16
    assert all((each > 0).all() and each.std() > 0 for each in variances)


def test_without_the_data_that_it_was_trained_on_nothing_is_written(small_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row of cifar100"):
        restore_run(REPOSITORY, "resnet-l", tmp_path / "run", (small_data,))
    assert not (tmp_path / "run").exists()


def test_a_backbone_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no backbone 'vit-z'; there are mixer-n, convnext-s"):
        restore_run(REPOSITORY, "vit-z", tmp_path)


def test_what_no_run_made_needs_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"vit-s-both-pyramid\.toml is missing.*--config"):
        restore_run(REPOSITORY, "vit-s-both-pyramid", tmp_path)
    with pytest.raises(ExportError, match="trains vit-s, not mixer-n"):
        restore_run(REPOSITORY, "mixer-n", tmp_path, None, Path("training/configs/vit-s.toml"))


def test_a_configuration_of_another_model_does_not_pass(tmp_path: Path) -> None:
    config = tmp_path / "mixer-n.toml"
    config.write_text(Path("training/configs/vit-s.toml").read_text().replace('name = "vit-s"', 'name = "mixer-n"'))
    with pytest.raises(ExportError, match="its tokenizer does not belong to a vit-s"):
        restore_run(REPOSITORY, "mixer-n", tmp_path / "run", None, config)
    config.write_text("name = 1")
    with pytest.raises(ConfigError):
        restore_run(REPOSITORY, "mixer-n", tmp_path / "run", None, config)


def test_a_damaged_repository_is_refused_in_a_sentence(tmp_path: Path) -> None:
    damaged = tmp_path / "repository"
    shutil.copytree(REPOSITORY, damaged)
    with (damaged / "mixer-n_image/1/model.onnx").open("ab") as file:
        file.write(b"x")
    result = CliRunner().invoke(app, ["restore", "mixer-n", "--repository", str(damaged), "--out", str(tmp_path / "r")])
    assert result.exit_code == 1
    assert "mixer-n_image" in result.output
    assert not (tmp_path / "r").exists()
