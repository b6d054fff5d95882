"""Adapters on a feature, against their equations."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn

from tests.unit.training.adapters.small_clip import stir
from training.adapters.layers import Bottlenecks, ClipAdapter, Linear, Pyramid, ReverseBottleneck, Stack, Top

pytestmark = pytest.mark.torch

D, N = 6, 3
F = torch.randn(4, 5, D, generator=Generator().manual_seed(9))


def _draw() -> Generator:
    return Generator().manual_seed(0)


def _stirred(layer: nn.Module) -> nn.Module:
    stir(list(layer.parameters()), std=0.5)
    return layer


def test_the_pyramid_maps_copies_of_the_feature() -> None:
    layer = _stirred(Pyramid(D, N, 1e-3, _draw()))
    assert isinstance(layer, Pyramid)
    torch.testing.assert_close(layer(F), F + torch.cat([F] * N, dim=-1) @ layer.weight)


def test_the_reverse_bottleneck_is_wide_in_the_middle() -> None:
    layer = _stirred(ReverseBottleneck(D, N, 1e-3, _draw()))
    assert isinstance(layer, ReverseBottleneck)
    assert layer.first.shape == (D, N * D // 2)
    torch.testing.assert_close(layer(F), F + F @ layer.first @ layer.second)


def test_the_stack_multiplies_n_matrices() -> None:
    layer = _stirred(Stack(D, N, 1e-3, _draw()))
    assert isinstance(layer, Stack)
    first, second, third = layer.weights
    torch.testing.assert_close(layer(F), F + F @ first @ second @ third)


def test_what_is_on_top_has_no_skip() -> None:
    layer = _stirred(Top(D, 9, 1e-3, _draw()))
    assert not layer(torch.zeros(1, D)).any()
    assert isinstance(layer, Top)
    torch.testing.assert_close(layer(F), F @ layer.first @ layer.second)


@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_several_bottlenecks_are_averaged(activation: str) -> None:
    layer = _stirred(Bottlenecks(D, 2, 4, 1e-3, "gelu" if activation == "gelu" else "none", _draw()))
    assert isinstance(layer, Bottlenecks)
    act = nn.functional.gelu if activation == "gelu" else nn.Identity()
    (down, other_down), (up, other_up) = layer.down.chunk(2, dim=1), layer.up.chunk(2)
    torch.testing.assert_close(layer(F), F + (act(F @ down) @ up + act(F @ other_down) @ other_up) / 2)


def test_clip_adapter_mixes_what_is_new_with_what_was_there() -> None:
    layer = ClipAdapter(8, 0, 0.2, _draw())
    f = torch.randn(3, 8)
    new = (f @ layer.down).relu() @ layer.up
    assert layer.down.shape == (8, 2)
    torch.testing.assert_close(layer(f), 0.8 * f + 0.2 * new)


@pytest.mark.parametrize(
    "layer",
    [
        Pyramid(D, N, 1e-3, _draw()),
        ReverseBottleneck(D, N, 1e-3, _draw()),
        Stack(D, N, 1e-3, _draw()),
        Top(D, 9, 1e-3, _draw()),
        Bottlenecks(D, 2, 4, 1e-3, "none", _draw()),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_linear_layers_are_one_matrix(layer: Linear) -> None:
    _stirred(layer)
    torch.testing.assert_close(layer(F), F @ layer.matrix(), atol=1e-5, rtol=1e-5)


def test_a_bottleneck_with_an_activation_is_no_matrix() -> None:
    with pytest.raises(ValueError, match="not a matrix"):
        Bottlenecks(D, 1, 4, 1e-3, "gelu", _draw()).matrix()


def test_a_variance_of_a_thousandth_would_be_no_near_identity() -> None:
    """Why the paper's "0/1e-3 for means/variances" is read as a standard deviation."""
    f = torch.randn(200, 768, generator=_draw())

    def drift(std: float) -> float:
        layer = Bottlenecks(768, 1, 128, std, "none", _draw())
        with torch.no_grad():
            return float((layer(f) - f).norm() / f.norm())

    assert drift(1e-3) < 1e-3
    assert drift(1e-3**0.5) > 0.2
