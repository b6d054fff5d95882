"""The shared multi-scale module and the task heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.experts.fitting.heads import DenseHeads, Layers, Tasks
from training.experts.psp import POOLS, PyramidPooling

pytestmark = pytest.mark.torch


def _places(n: int = 2, side: int = 8) -> torch.Tensor:
    return torch.randn(n, 16, side, side, generator=torch.Generator().manual_seed(0))


def test_pools_are_those_of_the_paper() -> None:
    assert POOLS == (1, 2, 3, 6)


@pytest.mark.parametrize("side", [1, 2, 4, 8, 9])
def test_the_multi_scale_module_keeps_the_size_of_any_map(side: int) -> None:
    assert PyramidPooling(16, 10)(_places(side=side)).shape == (2, 10, side, side)


def test_the_multi_scale_module_carries_what_is_far_away() -> None:
    """A convolution of three by three sees one place around it; the pools see the whole map."""
    module = PyramidPooling(16, 10).eval()
    one, other = _places(1), _places(1)
    other[:, :, 0, 0] += 5
    assert float((module(one) - module(other)).detach()[0, :, 7, 7].abs().max()) > 1e-4


def test_a_picture_does_not_depend_on_its_neighbours_even_in_training() -> None:
    heads = DenseHeads(16, Tasks(classes=3, depth=True, normals=True)).train()
    alone, beside = heads(_places()[:1], (8, 8)), heads(_places(), (8, 8))
    assert alone.depth is not None
    assert torch.allclose(alone.depth, beside.depth[:1], atol=1e-6)


def test_a_light_head_is_one_point_wise_convolution_and_a_heavy_one_three_of_three_by_three() -> None:
    kinds: tuple[tuple[Layers, list[tuple[int, int]]], ...] = ((1, [(1, 1)]), (3, [(3, 3)] * 3))
    for layers, kernels in kinds:
        heads = DenseHeads(16, Tasks(classes=5), layers=layers)
        found = [each.kernel_size for each in heads.heads["classes"].modules() if isinstance(each, nn.Conv2d)]
        assert found == kernels


@pytest.mark.parametrize("layers", [1, 3])
def test_predictions_have_the_size_asked_for_by_nearest_neighbours(layers: Layers) -> None:
    heads = DenseHeads(16, Tasks(classes=5, depth=True, normals=True), layers=layers, width=12)
    found = heads(_places(), (32, 24))
    assert found.classes is not None
    assert found.depth is not None
    assert found.normals is not None
    assert found.classes.shape == (2, 5, 32, 24)
    assert found.depth.shape == (2, 32, 24)
    assert found.normals.shape == (2, 3, 32, 24)
    assert torch.allclose(found.normals.norm(dim=1), torch.ones(2, 32, 24), atol=1e-5)
    blocks = found.depth.view(2, 8, 4, 8, 3)
    assert torch.equal(blocks, blocks[:, :, :1, :, :1].expand_as(blocks))


def test_a_task_that_is_switched_off_has_no_head() -> None:
    heads = DenseHeads(16, Tasks(depth=True))
    found = heads(_places(), (8, 8))
    assert (found.classes, found.normals) == (None, None)
    assert list(heads.heads) == ["depth"]
    assert Tasks().any is False
