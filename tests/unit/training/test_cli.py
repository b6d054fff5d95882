"""`python -m training`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.repository import load_zoo
from training.cli import app

pytestmark = pytest.mark.torch

CONFIG = """
name = "quick"
family = "convnext"
model = "convnext-s"
seed = 1

[data]
sources = ["objects", "scenes", "things"]

[schedule]
epochs = 1
peak_lr = 1e-3
batch_size = 32
"""


def test_train_then_export_gives_a_backbone_that_the_gateway_loads(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text(CONFIG)
    run, repository = str(tmp_path / "run"), str(tmp_path / "repository")
    trained = CliRunner().invoke(app, ["train", str(tmp_path / "quick.toml"), "--data", str(small_data), "--out", run])
    assert trained.exit_code == 0, trained.output
    assert "quick: 2 steps" in trained.stdout
    exported = CliRunner().invoke(app, ["export", run, "--data", str(small_data), "--out", repository])
    assert exported.exit_code == 0, exported.output
    (backbone,) = load_zoo(Path(repository)).backbones
    assert backbone.name == "quick"
    assert "1 epochs; batch 32; seed 1" in backbone.image.config.provenance


@pytest.mark.parametrize(
    "command",
    [
        "adapt",
        "adapt-timing",
        "adapter-pack",
        "adapter-units",
        "build-data",
        "distil",
        "example",
        "gallery-sample",
        "train",
        "export",
        "evaluate",
        "restore",
        "retrieval",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_a_folder_without_a_run_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(tmp_path), "--out", str(tmp_path / "repository")])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
