"""A model repository made by the export command from a recipe: tiny architectures of every kind, random weights."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from tests.conftest import ROOT

# SigLIP's architecture comes with SigLIP's preprocessing, which OpenCLIP keeps with the weights: hence the tag.
RECIPE = """
licence = "none: random weights"

[[backbones]]
run = "runs/{run}"

[[backbones]]
openclip = "tiny-resnet"

[[backbones]]
name = "tiny-vit-int8"
openclip = "tiny-vit"
precision = "int8"

[[backbones]]
openclip = "tiny-siglip"
pretrained = "webli"
"""
OPENCLIP_NAMES = ("tiny-resnet-random", "tiny-siglip-webli-random", "tiny-vit-int8-random")


def register_architectures() -> None:
    """Make the architectures in this folder known to OpenCLIP, as if it shipped them."""
    import open_clip
    from open_clip import pretrained

    open_clip.add_model_config(Path(__file__).parent / "architectures")
    pretrained._PRETRAINED["tiny-siglip"] = {"webli": pretrained._slpcfg(hf_hub="no-such/weights/")}


def bundled_run() -> str:
    """The run of one of the bundled backbones: its configuration is here, whether or not it was ever trained here."""
    from training.export.recipe import RunMember, load_recipe

    first = load_recipe(ROOT / "training/zoos/bundled.toml")[0]
    assert isinstance(first, RunMember)
    return first.run.name


def write_random_zoo(folder: Path) -> Path:
    """The repository, in a new folder inside `folder`. Needs the `training` extra; takes some seconds per backbone."""
    from tests.unit.training.tiny_data import Item, write_source
    from training.cli import app

    register_architectures()
    recipe, data, repository = folder / "recipe.toml", folder / "data", folder / "repository"
    recipe.write_text(RECIPE.format(run=bundled_run()))
    data.mkdir()
    # A twelfth of them are in the split that temperatures and int8 are fitted on.
    write_source(data, "things", [Item(seed, label=("apple", "bear", "chair")[seed % 3]) for seed in range(600)])
    words = ["export", str(recipe), "--random-weights", "--data", str(data), "--out", str(repository)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("_image: ") == result.stdout.count("_text: ") == len(OPENCLIP_NAMES) + 1
    return repository
