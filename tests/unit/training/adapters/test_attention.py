"""Multi-scale attention against the definition, written out."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor, nn

from tests.unit.training.adapters.small_clip import stir
from training.adapters.attention import PyramidScales, ScaleAttention, project
from training.adapters.design import MaskForm
from training.adapters.masks import text_bands

pytestmark = pytest.mark.torch

N, T, D, HEADS = 2, 7, 12, 3
BANDS = text_bands(T, {"L": 1.0, "M": 0.5, "S": 0.2})
CAUSAL = torch.full((T, T), float("-inf")).triu(1)


def _attention() -> nn.MultiheadAttention:
    attention = nn.MultiheadAttention(D, HEADS, batch_first=True)
    stir(list(attention.parameters()), std=0.6)
    return attention.requires_grad_(False)


def _x() -> Tensor:
    return torch.randn(N, T, D, generator=Generator().manual_seed(4))


def _defined(attention: nn.MultiheadAttention, x: Tensor, visible: Tensor, form: MaskForm, causal: bool) -> Tensor:
    """Equation 9, one query of one head at a time."""
    q, k, v = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=-1)
    width, out = D // HEADS, torch.zeros_like(x)
    for item in range(N):
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            for i in range(T):
                keys = [j for j in range(T) if not causal or j <= i]
                scores = torch.stack([q[item, i, part] @ k[item, j, part] / width**0.5 for j in keys])
                band = visible[i, keys]
                if form == "literal":
                    weights = (scores * band).softmax(dim=0)
                else:
                    weights = scores.masked_fill(~band, float("-inf")).softmax(dim=0)
                out[item, i, part] = weights @ v[item, keys, part]
    return out


@pytest.mark.parametrize("form", ["minus_inf", "literal"])
@pytest.mark.parametrize("causal", [False, True])
def test_every_scale_is_the_attention_that_the_paper_defines(form: MaskForm, causal: bool) -> None:
    attention, x = _attention(), _x()
    found = ScaleAttention(BANDS, form)(attention, x, CAUSAL if causal else None)
    for index, band in enumerate(BANDS):
        torch.testing.assert_close(found[:, :, index], _defined(attention, x, band, form, causal))


@pytest.mark.parametrize("form", ["minus_inf", "literal"])
def test_the_large_scale_is_the_frozen_attention(form: MaskForm) -> None:
    attention, x = _attention(), _x()
    found = project(attention, ScaleAttention(BANDS, form)(attention, x, CAUSAL))
    expected = attention(x, x, x, need_weights=False, attn_mask=CAUSAL)[0]
    torch.testing.assert_close(found[:, :, 0], expected)


@pytest.mark.parametrize("form", ["minus_inf", "literal"])
def test_no_token_sees_a_later_one_at_any_scale(form: MaskForm) -> None:
    attention, x = _attention(), _x()
    other = x.clone()
    other[:, 4:] += 1
    scales = ScaleAttention(BANDS, form)
    before, after = scales(attention, x, CAUSAL), scales(attention, other, CAUSAL)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])


def _changes_far_away(form: MaskForm) -> Tensor:
    """Whether the first token's features change with the last token, by scale."""
    attention, x = _attention(), _x()
    other = x.clone()
    other[:, -1] += 1
    scales = ScaleAttention(BANDS, form)
    changed: Tensor = scales(attention, x, None)[:, 0] != scales(attention, other, None)[:, 0]
    return changed.any(dim=-1).any(dim=0)


def test_masked_scores_do_not_leak() -> None:
    assert _changes_far_away("minus_inf").tolist() == [True, False, False]


def test_equation_9_to_the_letter_leaks_and_says_so() -> None:
    assert _changes_far_away("literal").tolist() == [True, True, True]


def test_a_padded_row_whose_whole_band_is_masked_stays_finite() -> None:
    attention, x = _attention(), _x()
    padding = torch.zeros(N * HEADS, T, T)
    padding[:, :, 4:] = float("-inf")  # keys that no query may see, as towers without a causal mask hide padding
    found = ScaleAttention(BANDS, "minus_inf")(attention, x, padding)
    assert found.isfinite().all()
    shorter = ScaleAttention(BANDS, "minus_inf")(attention, x[:, :4], None)
    torch.testing.assert_close(found[:, :4], shorter)


def test_shorter_inputs_use_the_masks_beginning() -> None:
    attention, x = _attention(), _x()[:, :5]
    found = ScaleAttention(BANDS, "minus_inf")(attention, x, CAUSAL[:5, :5])
    torch.testing.assert_close(found, ScaleAttention(BANDS, "minus_inf")(attention, _x(), CAUSAL)[:, :5])


def test_the_pyramid_maps_the_scales_side_by_side() -> None:
    attention, x = _attention(), _x()
    pyramid = PyramidScales(D, BANDS, "minus_inf", 1e-3, Generator().manual_seed(0))
    stir(list(pyramid.parameters()), std=0.5)
    features = project(attention, pyramid.scales(attention, x, CAUSAL))
    torch.testing.assert_close(pyramid(attention, x, CAUSAL), features.flatten(-2) @ pyramid.matrix())


def test_the_pyramid_starts_as_the_identity_for_the_large_scale() -> None:
    matrix = PyramidScales(D, BANDS, "minus_inf", 1e-3, Generator().manual_seed(0)).matrix()
    assert torch.equal(matrix[:D], torch.eye(D))
    assert 0 < matrix[D:].abs().max() < 6e-3


@pytest.mark.parametrize("form", ["minus_inf", "literal"])
def test_scales_run_under_half_precision(form: MaskForm) -> None:
    attention, x = _attention(), _x()
    scales = ScaleAttention(BANDS, form)
    with torch.autocast("cpu", torch.bfloat16):
        found = scales(attention, x, CAUSAL)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), scales(attention, x, CAUSAL), atol=0.1, rtol=0.1)
