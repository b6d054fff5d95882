"""Adapted towers in a model repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from service.repository import load_zoo
from tests.unit.training.adapters.small_clip import stir
from training.adapters import attach, design
from training.adapters.adapt_config import AdaptConfig
from training.adapters.command import ADAPTER, load_backbone
from training.export.adapted import adapted_backbone, load_any_run
from training.export.backbone import export_graphs
from training.export.errors import ExportError
from training.export.graph import open_session, run_session
from training.export.recipe import RunMember
from training.export.towers import ImageTower
from training.export.zoo import export_zoo

pytestmark = pytest.mark.torch


def _write_fit(folder: Path, backbone: Path, name: str = "msa-lo", **changes: object) -> Path:
    """The folder of a fit without the fitting: adapter weights far from their start."""
    config = AdaptConfig(backbone=str(backbone), design=design(name), sources=("clothing",))
    adapted = attach(load_backbone(str(backbone)).model, config.design, seed=0)
    stir(adapted.adapter_parameters())
    folder.mkdir()
    metadata = {"config": config.to_dict(), "frozen": adapted.frozen_digest(), "images": 20} | changes
    save_file(adapted.adapter_state(), folder / ADAPTER, {"run": json.dumps(metadata)})
    return folder


@pytest.mark.parametrize("name", ["msa", "msa-lo", "both-pyramid", "both-bottleneck", "clip-adapter", "on-top"])
def test_exported_towers_are_those_of_torch(name: str, small_run: Path) -> None:
    base = load_backbone(str(small_run))
    adapted = attach(base.model, design(name), seed=0)
    stir(adapted.adapter_parameters(), std=0.05)
    graphs = export_graphs(adapted_backbone(base, adapted, "small", "by a test"))
    assert max(graphs.image.parity.max_difference, graphs.text.parity.max_difference) < 1e-4
    size = base.preprocessing.image_size
    pictures = np.random.default_rng(3).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    tower = ImageTower(adapted, base.preprocessing.mean, base.preprocessing.std, softened=base.softened)
    with torch.no_grad():
        expected = tower(torch.from_numpy(pictures))
    session = open_session(graphs.image.model)
    np.testing.assert_allclose(run_session(session, pictures), expected, atol=1e-4)
    alone = run_session(session, pictures[2:3])
    np.testing.assert_allclose(alone[0], run_session(session, pictures)[2], atol=1e-6)


def test_what_is_merged_costs_what_the_backbone_costs(small_run: Path) -> None:
    base = load_backbone(str(small_run))
    adapted = attach(base.model, design("both-pyramid"), seed=0)
    expected = export_graphs(base)
    found = export_graphs(adapted_backbone(base, adapted, "small", "by a test"))
    assert (found.image.gflops, found.text.gflops) == (expected.image.gflops, expected.text.gflops)


def test_the_folder_of_a_fit_becomes_a_backbone_that_the_gateway_loads(small_run: Path, tmp_path: Path) -> None:
    fit, repository = _write_fit(tmp_path / "fit", small_run), tmp_path / "repository"
    (lines,) = export_zoo([RunMember(run=fit, licence="none", precision="float32")], repository)
    (backbone,) = load_zoo(repository).backbones
    base = load_backbone(str(small_run))
    assert backbone.name == f"{base.name}-msa-lo"
    assert backbone.preprocessing == base.preprocessing
    assert backbone.gflops > export_graphs(base).image.gflops
    provenance = backbone.image.config.provenance
    assert "; adapter msa-lo fitted to 20 images of clothing; 5 epochs; batch 256; seed 0; " in provenance
    assert " parameters added (" in provenance
    assert f"{backbone.name}_image: " in lines


def test_an_adapter_of_other_weights_is_refused(small_run: Path, tmp_path: Path) -> None:
    fit = _write_fit(tmp_path / "fit", small_run, frozen="0" * 64)
    with pytest.raises(ExportError, match="was fitted to other weights"):
        load_any_run(fit)


def test_an_adapter_whose_backbone_is_gone_is_refused(small_run: Path, tmp_path: Path) -> None:
    config = AdaptConfig(backbone=str(tmp_path / "gone"), design=design("msa-lo")).to_dict()
    fit = _write_fit(tmp_path / "fit", small_run, config=config)
    with pytest.raises(ExportError, match="gone"):
        load_any_run(fit)


def test_weights_of_another_design_are_refused(small_run: Path, tmp_path: Path) -> None:
    config = AdaptConfig(backbone=str(small_run), design=design("msa-lo", rank=3)).to_dict()
    fit = _write_fit(tmp_path / "fit", small_run, config=config)
    with pytest.raises(ExportError, match="adapter weights of another backbone or design"):
        load_any_run(fit)


def test_a_run_without_an_adapter_is_the_backbone_itself(small_run: Path) -> None:
    assert load_any_run(small_run).name == load_backbone(str(small_run)).name
