"""The network of the experts trained here."""

from __future__ import annotations

import pytest
import torch

from tests.unit.training.experts.made_up_scenes import TINY
from training.experts.nets.network import STRIDE, DenseNet

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("size", [(STRIDE, STRIDE), (64, 96)])
def test_every_pixel_gets_its_numbers(size: tuple[int, int]) -> None:
    net = DenseNet(5, TINY).eval()
    with torch.no_grad():
        assert net(torch.rand(2, 3, *size)).shape == (2, 5, *size)


def test_it_is_as_small_as_it_says() -> None:
    assert 1.0e6 < sum(value.numel() for value in DenseNet(20).parameters()) < 1.2e6


def test_its_answer_is_in_full_precision_under_autocast() -> None:
    net = DenseNet(1, TINY).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(1, 3, 32, 32)).dtype == torch.float32


def test_every_weight_is_used() -> None:
    net = DenseNet(2, TINY)
    net(torch.rand(4, 3, 64, 64)).square().mean().backward()
    assert not [name for name, value in net.named_parameters() if value.grad is None]


def test_what_is_at_a_place_decides_what_is_said_there() -> None:
    torch.manual_seed(0)
    net = DenseNet(1, TINY).eval()
    plain = torch.full((1, 3, 64, 64), 0.5)
    changed = plain.clone()
    changed[..., 8:16, 40:48] = 1.0
    with torch.no_grad():
        off = (net(changed) - net(plain)).abs()[0, 0]
    row, column = divmod(int(off.argmax()), 64)
    assert 4 <= row < 20
    assert 36 <= column < 52
