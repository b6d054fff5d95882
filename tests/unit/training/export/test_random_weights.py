"""Models without trained weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.export.random_weights import RESIDUAL_SCALE, enliven, stand_in_tokenizer
from training.models.tokenizer import encode

pytestmark = pytest.mark.torch


class Residual(nn.Module):
    """One residual block whose last normalisation starts at zero, as OpenCLIP's ResNets have them."""

    def __init__(self, *, normalised: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.normalisation = nn.BatchNorm2d(3) if normalised else nn.Identity()
        if isinstance(self.normalisation, nn.BatchNorm2d):
            nn.init.zeros_(self.normalisation.weight)

    def encode_image(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = x + self.normalisation(self.convolution(x))
        return found


def test_blocks_that_start_as_nothing_take_part() -> None:
    torch.manual_seed(0)
    model = Residual(normalised=True).eval()
    picture = torch.randn(1, 3, 16, 16)
    assert torch.equal(model.encode_image(picture), picture)
    enliven(model, 16)
    change = model.encode_image(picture) - picture
    # Noise is what the statistics were taken from, so the scale is all that is left of its size.
    assert change.std().item() == pytest.approx(RESIDUAL_SCALE, rel=0.3)
    assert not model.normalisation.training
    assert model.normalisation.momentum == 0.1


def test_a_model_without_batch_normalisation_is_left_as_it_is() -> None:
    model = Residual(normalised=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    enliven(model, 16)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_stand_in_tokenizer_takes_any_text() -> None:
    ids = encode(stand_in_tokenizer(12), ["", "a cat", "日本語 🙂", "x" * 100])
    assert ids.shape == (4, 12)
    assert len({tuple(row) for row in ids}) == 4
