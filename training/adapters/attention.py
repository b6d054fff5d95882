"""Multi-scale attention: one frozen attention, looked at through several masks (equations 6 to 10)."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.adapters.design import MaskForm
from training.adapters.layers import Draw, normal
from training.adapters.masks import LOW


class ScaleAttention(nn.Module):
    """What the frozen attention gives at every scale. Holds masks, no parameters.

    Queries, keys and values are the frozen projections' and are computed once; only who sees whom differs. All scales
    run as one attention with `scales * heads` heads.
    """

    bands: Tensor

    def __init__(self, bands: Tensor, form: MaskForm) -> None:
        super().__init__()
        self.register_buffer("bands", bands, persistent=False)
        self.form = form

    def forward(self, attention: nn.MultiheadAttention, x: Tensor, attn_mask: Tensor | None) -> Tensor:
        """x: float[n, T, d], attn_mask: additive [T, T] or [n * heads, T, T] -> float[n, T, s, d].

        The last two axes are the scales and d, heads side by side, before the attention's output projection.
        """
        n, length, d = x.shape
        qkv = functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = qkv.view(n, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        if attn_mask is not None:
            attn_mask = attn_mask.to(q.dtype)
            if attn_mask.dim() == 3:
                attn_mask = attn_mask.view(n, attention.num_heads, length, length)
        bands = self.bands[:, :length, :length]
        attend = _literal if self.form == "literal" else _masked
        mixed = attend(q, k, v, bands, attn_mask)
        return mixed.permute(0, 3, 1, 2, 4).reshape(n, length, len(bands), d)


def _masked(q: Tensor, k: Tensor, v: Tensor, bands: Tensor, attn_mask: Tensor | None) -> Tensor:
    """q, k, v: [n, h, T, c] -> [n, s, h, T, c]: scores outside a band count for nothing."""
    n, heads, length, width = q.shape
    scales = len(bands)
    mask = torch.zeros((), dtype=q.dtype, device=q.device).masked_fill(~bands, LOW)[:, None]
    if attn_mask is not None:
        mask = mask + (attn_mask if attn_mask.dim() == 2 else attn_mask[:, None])
    mask = mask.expand(*mask.shape[:-3], heads, length, length).flatten(-4, -3)
    mask = mask if mask.dim() == 4 else mask[None]
    q, k, v = (each.repeat(1, scales, 1, 1) for each in (q, k, v))
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.view(n, scales, heads, length, width)


def _literal(q: Tensor, k: Tensor, v: Tensor, bands: Tensor, attn_mask: Tensor | None) -> Tensor:
    """As `_masked`, by equation 9 to the letter: scores times 0 or 1 *before* the softmax.

    A score of 0 still has a weight of exp(0), so positions outside a band go on being seen, all alike. The tower's own
    mask is added after the product: no token sees a later one.
    """
    scores = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5)[:, None] * bands[:, None].to(q.dtype)
    if attn_mask is not None:
        scores = scores + (attn_mask if attn_mask.dim() == 2 else attn_mask[:, None])
    weights: Tensor = scores.softmax(dim=-1).to(v.dtype)
    return weights @ v[:, None]


def project(attention: nn.MultiheadAttention, mixed: Tensor) -> Tensor:
    """The frozen output projection on the last axis."""
    return functional.linear(mixed, attention.out_proj.weight, attention.out_proj.bias)


class PyramidScales(nn.Module):
    """Equation 10: [f^L, f^M, f^S] W, W in [s d, d], in place of the attention's output.

    The f that equation 10 adds is the block's own skip connection: W starts with the identity for the large scale, and
    the large scale is the frozen attention, so any other f would double the attention from the start. The identity is
    held apart from what is learnt (`weight` is W without it): exact in every precision, and weight decay pulls towards
    the backbone instead of away from it.
    """

    def __init__(self, d: int, bands: Tensor, form: MaskForm, std: float, draw: Draw) -> None:
        super().__init__()
        self.scales = ScaleAttention(bands, form)
        self.weight = normal(draw, len(bands) * d, d, std=std)
        if draw is not None:
            with torch.no_grad():
                self.weight[:d].zero_()

    def forward(self, attention: nn.MultiheadAttention, x: Tensor, attn_mask: Tensor | None) -> Tensor:
        """x: float[n, T, d], normalised as the frozen attention wants it -> float[n, T, d]."""
        features = project(attention, cast(Tensor, self.scales(attention, x, attn_mask)))
        return features[..., 0, :] + features.flatten(-2) @ self.weight

    def matrix(self) -> Tensor:
        """W itself: [s d, d]."""
        d = self.weight.shape[1]
        return self.weight + torch.eye(len(self.weight), d, device=self.weight.device)
