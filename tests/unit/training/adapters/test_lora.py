"""Low-rank ensembles: one product and three branches are the same."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn

from tests.unit.training.adapters.small_clip import stir
from training.adapters.attention import project
from training.adapters.design import Branches, Factors
from training.adapters.lora import LowRankEnsemble, LowRankScales
from training.adapters.masks import text_bands

pytestmark = pytest.mark.torch

N, T, D, HEADS, RANK = 2, 7, 12, 3, 4
BANDS = text_bands(T, {"L": 1.0, "M": 0.5, "S": 0.2})


def _attention() -> nn.MultiheadAttention:
    attention = nn.MultiheadAttention(D, HEADS, batch_first=True)
    stir(list(attention.parameters()), std=0.6)
    return attention.requires_grad_(False)


def _x() -> torch.Tensor:
    return torch.randn(N, T, D, generator=Generator().manual_seed(4))


def _scales(factors: Factors, branches: Branches = "low-rank", *, stirred: bool = True) -> LowRankScales:
    scales = LowRankScales(D, RANK, BANDS, "minus_inf", factors, branches, Generator().manual_seed(0))
    if stirred:
        stir(list(scales.parameters()), std=0.4)
    return scales


@pytest.mark.parametrize("factors", ["shared", "separate"])
@pytest.mark.parametrize("branches", ["low-rank", "whole"])
def test_one_product_equals_three_branches_at_the_attention(factors: Factors, branches: Branches) -> None:
    attention, scales = _attention(), _scales(factors, branches)
    together = scales(attention, _x(), None)
    scales.parallel = False
    torch.testing.assert_close(scales(attention, _x(), None), together)


def test_the_large_branch_reads_what_the_attention_reads_and_the_others_what_it_gives() -> None:
    attention, scales, x = _attention(), _scales("shared"), _x()
    large, middle, small = project(attention, scales.scales(attention, x, None)).unbind(dim=-2)
    first, b = scales.first, scales.second
    expected = large + x @ first[0] @ b + middle @ first[1] @ b + small @ first[2] @ b
    torch.testing.assert_close(scales(attention, x, None), expected)


def test_by_the_letter_the_attention_of_every_scale_is_added() -> None:
    attention, x = _attention(), _x()
    low_rank, whole = _scales("shared", "low-rank"), _scales("shared", "whole")
    features = project(attention, whole.scales(attention, x, None))
    extra = features[..., 1, :] + features[..., 2, :]
    torch.testing.assert_close(whole(attention, x, None), low_rank(attention, x, None) + extra)


def test_low_rank_branches_start_as_the_frozen_attention_and_whole_ones_far_from_it() -> None:
    attention, x = _attention(), _x()
    frozen = attention(x, x, x, need_weights=False)[0]
    torch.testing.assert_close(_scales("shared", stirred=False)(attention, x, None), frozen)
    whole = _scales("shared", "whole", stirred=False)(attention, x, None)
    assert (whole - frozen).norm() > frozen.norm()


@pytest.mark.parametrize("factors", ["shared", "separate"])
def test_one_product_equals_three_branches_after_the_feed_forward_part(factors: Factors) -> None:
    ensemble = LowRankEnsemble(D, RANK, 3, factors, Generator().manual_seed(0))
    stir(list(ensemble.parameters()), std=0.4)
    together = ensemble(_x())
    ensemble.parallel = False
    torch.testing.assert_close(ensemble(_x()), together)
    torch.testing.assert_close(_x() @ ensemble.matrix(), together)


def test_the_shared_factor_is_a_with_three_b_after_the_feed_forward_part() -> None:
    ensemble = LowRankEnsemble(D, RANK, 3, "shared", Generator().manual_seed(0))
    stir(list(ensemble.parameters()), std=0.4)
    x, a = _x(), ensemble.first
    one, two, three = ensemble.second.chunk(3, dim=1)
    assert a.shape == (D, RANK)
    assert one.shape == (RANK, D)
    torch.testing.assert_close(ensemble(x), x + x @ a @ one + x @ a @ two + x @ a @ three)


@pytest.mark.parametrize(("factors", "expected"), [("shared", 4 * RANK * D), ("separate", 6 * RANK * D)])
def test_sharing_saves_what_the_paper_says(factors: Factors, expected: int) -> None:
    ensemble = LowRankEnsemble(D, RANK, 3, factors, Generator().manual_seed(0))
    for module in (_scales(factors), ensemble):
        assert sum(parameter.numel() for parameter in module.parameters()) == expected
