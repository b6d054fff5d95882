"""What was fitted with experts is exported as any backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from open_clip.model import CLIP
from torch import Tensor

from tests.unit.training.adapters.conftest import small_run as small_run
from training.adapters.pairs import Pairs, pairs_of_samples
from training.data.samples import load_samples
from training.data.splits import Split
from training.experts.errors import ExpertError
from training.experts.fitting.config import FitConfig, FitSchedule
from training.experts.fitting.feed import PairsFeed
from training.experts.fitting.losses import Weights
from training.experts.fitting.run import fit_model, load_fitted
from training.experts.fitting.served import fitted_backbone
from training.experts.targets import Targets
from training.export.backbone import Backbone
from training.export.cost import gflops
from training.export.errors import ExportError
from training.export.graph import checked_parity, export_graph
from training.export.run import load_run
from training.export.towers import ImageTower

pytestmark = pytest.mark.torch

CONFIG = FitConfig(
    backbone="small",
    sides=(64,),
    classes=3,
    schedule=FitSchedule(epochs=1, batch_size=4, peak_lr=1e-3, warmup_steps=1),
)


def _pairs(run: Path, data: Path) -> Pairs:
    base = load_run(run)
    samples = load_samples(data, Split.FIT, ("clothing",), base.preprocessing)
    return pairs_of_samples(samples, base.tokenizer, torch.device("cpu"))


def _seen(images: Tensor) -> Targets:
    bright = images.float().amax(dim=3) / 255
    return Targets(images.argmax(dim=3), bright + 1)


def _fit(run: Path, data: Path, folder: Path, config: FitConfig) -> None:
    made = _pairs(run, data)
    feed = PairsFeed(made, _seen(made.images), config.augmentation)
    fit_model(cast(CLIP, load_run(run).model), feed, config, folder)


@pytest.fixture(scope="module")
def fitted(small_run: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    _fit(small_run, small_data, folder, CONFIG)
    return folder


def _tower(backbone: Backbone) -> tuple[ImageTower, Tensor]:
    """The image tower as it is exported, and pictures for it."""
    taken = backbone.preprocessing
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (2, taken.image_size, taken.image_size, 3), dtype=torch.uint8, generator=generator)
    return ImageTower(backbone.model.eval(), taken.mean, taken.std, softened=backbone.softened).eval(), pictures


def test_the_fitted_tower_exports_as_the_one_before(small_run: Path, fitted: Path) -> None:
    before, pictures = _tower(load_run(small_run))
    backbone = fitted_backbone(load_run(small_run), fitted)
    after, _ = _tower(backbone)
    graphs = [export_graph(tower, pictures, "image") for tower in (before, after)]
    nodes = [[node.op_type for node in graph.graph.node] for graph in graphs]
    assert nodes[0] == nodes[1]  # no head is left in the graph
    checked_parity(after, graphs[1], pictures)
    assert gflops(after, pictures[:1]) == gflops(before, pictures[:1])
    assert not torch.equal(after(pictures), before(pictures))


def test_a_fitted_backbone_says_what_it_is(small_run: Path, fitted: Path) -> None:
    base = load_run(small_run)
    backbone = fitted_backbone(load_run(small_run), fitted)
    assert backbone.name == "small-cliptex"
    assert backbone.preprocessing == base.preprocessing
    assert "fine-tuned with experts (segmentation, depth, normals) on 22 images; " in backbone.provenance
    assert backbone.logit_scale == pytest.approx(float(load_fitted(fitted)[0]["logit_scale"].exp()))


def test_it_is_served_at_a_higher_resolution_too(small_run: Path, fitted: Path) -> None:
    backbone = fitted_backbone(load_run(small_run), fitted, side=96)
    assert backbone.preprocessing.image_size == 96
    bigger, pictures = _tower(backbone)
    graph = export_graph(bigger, pictures, "image")
    assert [axis.dim_value for axis in graph.graph.input[0].type.tensor_type.shape.dim][1:] == [96, 96, 3]
    checked_parity(bigger, graph, pictures)
    own, small = _tower(fitted_backbone(load_run(small_run), fitted))
    assert gflops(bigger, pictures[:1]) > 2 * gflops(own, small[:1])
    with pytest.raises(ExpertError, match="multiple of 8 pixels, not 100"):
        fitted_backbone(load_run(small_run), fitted, side=100)


def test_without_experts_it_is_called_fine_tuned(small_run: Path, small_data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, weights=Weights(classes=0.0, depth=0.0, normals=0.0))
    _fit(small_run, small_data, tmp_path, config)
    backbone = fitted_backbone(load_run(small_run), tmp_path)
    assert backbone.name == "small-ft"
    assert "fine-tuned by captions alone on 22 images; 64 pixels; " in backbone.provenance


def test_a_backbone_with_other_weights_is_refused(small_run: Path, fitted: Path) -> None:
    base = load_run(small_run)
    with torch.no_grad():
        cast(CLIP, base.model).logit_scale += 1
    with pytest.raises(ExportError, match="was fitted to other weights than small has now"):
        fitted_backbone(base, fitted)
