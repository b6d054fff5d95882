"""Counted operations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.export.cost import gflops

pytestmark = pytest.mark.torch


def test_a_multiply_add_counts_as_two_operations() -> None:
    assert gflops(nn.Linear(30, 50, bias=False), torch.zeros(1, 30)) == pytest.approx(2 * 30 * 50 / 1e9)


def test_attention_is_counted_whole() -> None:
    length, width = 10, 16
    layer = nn.MultiheadAttention(width, 2, batch_first=True).eval()

    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(x, x, x, need_weights=False)[0]
            return found

    projections, products = 4 * length * width * width, 2 * length * length * width
    counted = gflops(SelfAttention().eval(), torch.zeros(1, length, width))
    assert counted == pytest.approx(2 * (projections + products) / 1e9)


def test_a_parameter_that_is_handed_to_a_module_is_no_obstacle_and_stays_trainable() -> None:
    class Pooling(nn.Module):
        """As SigLIP's: a learnt query asks."""

        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Parameter(torch.ones(1, 30))
            self.projection = nn.Linear(30, 50, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.projection(self.query) + x
            return found

    pooling = Pooling()
    assert gflops(pooling, torch.zeros(1, 50)) == pytest.approx(2 * 30 * 50 / 1e9)
    assert all(parameter.requires_grad for parameter in pooling.parameters())
