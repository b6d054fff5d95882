"""Adapters that become part of the weights."""

from __future__ import annotations

import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from tests.unit.training.adapters.small_clip import embed, pictures, small_clip, small_custom_clip, stir
from training.adapters import DESIGNS, attach, design
from training.adapters.merging import merge
from training.export.cost import gflops

pytestmark = pytest.mark.torch

CHANGES: tuple[dict[str, object], ...] = (
    {},
    {"activation": "none", "mask": "literal"},
    {"factors": "separate"},
    {"factors": "separate", "branches": "whole"},
)


class _Image(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.model.encode_image(image)  # type: ignore[operator]  # untyped
        return found


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("name", DESIGNS)
def test_merged_towers_compute_the_same(name: str, changes: dict[str, object]) -> None:
    width = 0 if name == "clip-adapter" else 4
    adapted = attach(small_clip(), design(name, width=width, rank=2, **changes), seed=0)
    stir(adapted.adapter_parameters(), std=0.3)
    for one, other in zip(embed(adapted), embed(merge(adapted)), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["on-top", "msa", "msa-lo"])
def test_merging_knows_projections_that_are_layers(name: str) -> None:
    adapted = attach(small_custom_clip(proj_bias=True), design(name, width=4, rank=2), seed=0)
    stir(adapted.adapter_parameters(), std=0.3)
    for one, other in zip(embed(adapted), embed(merge(adapted)), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


LINEAR = ["both-pyramid", "both-rb", "both-mlp", "on-top", "msa-l"]


@pytest.mark.parametrize("name", LINEAR)
def test_linear_adapters_cost_nothing_once_merged(name: str) -> None:
    clip = small_clip()
    merged = merge(attach(clip, design(name, width=4, activation="none"), seed=0))
    assert all(type(block) is ResidualAttentionBlock for block in merged.model.visual.transformer.resblocks)  # type: ignore[union-attr]  # open_clip is untyped
    picture = pictures(1)
    assert gflops(_Image(merged), picture) == gflops(_Image(clip), picture)


@pytest.mark.parametrize("name", ["msa", "msa-lo"])
def test_what_lies_behind_the_masks_costs_less_once_merged(name: str) -> None:
    adapted = attach(small_clip(), design(name, width=4, rank=2), seed=0)
    assert gflops(_Image(merge(adapted)), pictures(1)) < gflops(_Image(adapted), pictures(1))


def test_merging_leaves_the_adapted_model_as_it_was() -> None:
    adapted = attach(small_clip(), design("both-pyramid"), seed=0)
    stir(adapted.adapter_parameters())
    before, digest = embed(adapted), adapted.frozen_digest()
    merge(adapted)
    assert adapted.frozen_digest() == digest
    assert all(torch.equal(one, other) for one, other in zip(before, embed(adapted), strict=True))


def test_nothing_of_what_is_merged_asks_for_gradients() -> None:
    merged = merge(attach(small_clip(), design("msa-lo"), seed=0))
    mine = [name for name, parameter in merged.named_parameters() if parameter.requires_grad]
    assert mine == []
    assert merged.logit_scale.item() == pytest.approx(2.6593, abs=1e-3)
