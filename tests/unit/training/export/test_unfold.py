"""Unfolding: neutral batch normalisations get statistics, and answers stay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from training.export.errors import ExportError
from training.export.unfold import folded_names, make_neutral, unfold

pytestmark = pytest.mark.torch


EPS = {"1": 1e-5, "4": 1e-3}


@pytest.fixture
def model() -> nn.Sequential:
    """Two convolutions with normalisations that an export has folded into them."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4)
    ).eval()
    make_neutral(layers)
    for name, value in layers.named_parameters():
        if name in ("1.bias", "4.bias"):
            nn.init.normal_(value)
    return layers


def pictures() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for count in (16, 16, 8):
        yield 3 + 2 * torch.randn(count, 3, 12, 12, generator=generator)


def test_a_neutral_one_adds_its_bias_and_no_more(model: nn.Sequential) -> None:
    values = torch.randn(2, 8, 5, 5)
    assert torch.equal(model[1](values), values + model.get_parameter("1.bias").view(1, -1, 1, 1))


def test_answers_stay_in_eval_mode(model: nn.Sequential) -> None:
    batch = next(pictures())
    before = model(batch)
    unfold(model, model, pictures(), EPS)
    torch.testing.assert_close(model(batch), before, rtol=1e-5, atol=1e-5)


def test_a_batch_of_the_same_kind_gives_about_the_same_in_training(model: nn.Sequential) -> None:
    whole = torch.cat(list(pictures()))
    unfold(model, model, pictures(), EPS)
    at_rest = model(whole)
    model.train()
    torch.testing.assert_close(model(whole), at_rest, rtol=1e-3, atol=1e-3)


def test_statistics_are_those_of_all_batches_together(model: nn.Sequential) -> None:
    seen = model[0](torch.cat(list(pictures())))
    unfold(model, model, pictures(), EPS)
    torch.testing.assert_close(model[1].running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(model[1].running_var, seen.var((0, 2, 3), correction=0))


def test_each_layer_has_its_own_small_number_again(model: nn.Sequential) -> None:
    unfold(model, model, pictures(), EPS)
    assert [each.eps for each in model.modules() if isinstance(each, nn.BatchNorm2d)] == list(EPS.values())


def test_names_of_what_is_folded_leave_the_bias_out(model: nn.Sequential) -> None:
    assert folded_names(model) == {
        f"{at}.{part}" for at in (1, 4) for part in ("weight", "running_mean", "running_var")
    }


def test_a_layer_that_sees_nothing_is_told(model: nn.Sequential) -> None:
    with pytest.raises(ExportError, match="saw no picture"):
        unfold(model, model, [], EPS)
