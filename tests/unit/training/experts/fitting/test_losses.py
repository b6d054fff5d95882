"""Equation 1 and its terms."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor

from tests.unit.training.experts.made_up import targets, unit_normals
from training.experts.fitting.heads import Predictions
from training.experts.fitting.losses import (
    DEPTH_FORMS,
    DepthForm,
    Weights,
    class_loss,
    dense_terms,
    depth_loss,
    normal_loss,
    normalised_depth,
    total_loss,
)
from training.experts.targets import NO_CLASS, Targets

pytestmark = pytest.mark.torch

NAN = math.nan


def _predictions(n: int = 4, side: int = 16) -> Predictions:
    generator = torch.Generator().manual_seed(9)
    return Predictions(
        classes=torch.randn(n, 3, side, side, generator=generator, requires_grad=True),
        depth=torch.randn(n, side, side, generator=generator, requires_grad=True),
        normals=unit_normals(n, side, seed=5).requires_grad_(),
    )


def test_the_factors_are_those_of_table_7() -> None:
    assert Weights() == Weights(clip=1.0, classes=0.1, depth=1.0, normals=1.0)


@pytest.mark.parametrize("factors", [{"clip": -1.0}, {"clip": 0.0, "classes": 0.0, "depth": 0.0, "normals": 0.0}])
def test_factors_that_teach_nothing_are_refused(factors: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="loss weights"):
        Weights(**factors)


def test_segmentation_is_the_cross_entropy_of_the_pixels_that_have_a_class() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25], [0.1, 0.9]])).T.reshape(1, 2, 1, 2)
    both = torch.tensor([[[0, 1]]])
    assert class_loss(logits, both).item() == pytest.approx((-math.log(0.5 / 0.75) - math.log(0.9)) / 2, rel=1e-5)
    assert class_loss(logits, torch.tensor([[[NO_CLASS, 1]]])).item() == pytest.approx(-math.log(0.9), rel=1e-5)


def test_class_weights_make_a_weighted_mean() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.1, 0.9]])).T.reshape(1, 2, 1, 2)
    found = class_loss(logits, torch.tensor([[[0, 1]]]), torch.tensor([3.0, 1.0])).item()
    assert found == pytest.approx((-3 * math.log(0.5) - math.log(0.9)) / 4, rel=1e-5)


def test_depth_is_l1_where_there_is_depth() -> None:
    found, depth = torch.tensor([[[1.0, 2.0, 7.0]]]), torch.tensor([[[3.0, 2.5, NAN]]])
    assert depth_loss(found, depth, "plain").item() == pytest.approx(1.25)


def test_median_depth_has_a_median_of_0_and_a_mean_distance_of_1_whatever_scale_and_shift() -> None:
    depth = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(1))
    depth[1] = depth[1] * 40 + 7
    depth[:, 0, 0] = NAN
    found = normalised_depth(depth, "median").flatten(1)
    assert torch.allclose(found.nanmedian(dim=1).values, torch.zeros(2), atol=1e-6)
    assert torch.allclose(found.abs().nanmean(dim=1), torch.ones(2), atol=1e-5)
    assert depth_loss(torch.zeros(2, 5, 5), depth).item() == pytest.approx(1, abs=0.01)
    assert torch.allclose(normalised_depth(depth * 3 + 2, "median").flatten(1)[:, 1:], found[:, 1:], atol=1e-4)


def test_unit_depth_runs_from_0_to_1() -> None:
    depth = torch.tensor([[[2.0, 4.0], [NAN, 3.0]]])
    assert normalised_depth(depth, "unit")[0, 0].tolist() == [0.0, 1.0]
    assert normalised_depth(depth, "unit")[0, 1, 1].item() == 0.5


def test_inverse_depth_is_the_disparity_and_what_is_infinitely_far_is_its_least() -> None:
    depth = torch.tensor([[[1.0, 2.0, 4.0], [math.inf, NAN, 0.0]]])
    found = normalised_depth(depth, "inverse")[0]
    expected = normalised_depth(torch.tensor([[[1.0, 0.5, 0.25], [0.0, NAN, NAN]]]), "median")[0]
    assert torch.equal(found.nan_to_num(-9), expected.nan_to_num(-9))
    assert found[1, 0] == found[~found.isnan()].min()


@pytest.mark.parametrize("form", DEPTH_FORMS)
def test_infinite_depth_does_not_make_a_loss_infinite(form: DepthForm) -> None:
    depth = torch.tensor([[[1.0, 2.0, math.inf]]])
    assert depth_loss(torch.zeros(1, 1, 3), depth, form).isfinite()


@pytest.mark.parametrize("form", ["median", "inverse", "unit"])
def test_flat_and_empty_depth_is_finite_where_it_is_known(form: DepthForm) -> None:
    depth = torch.full((2, 3, 3), 5.0)
    depth[1] = NAN
    found = normalised_depth(depth, form)
    assert found[0].abs().max().item() == 0
    assert found[1].isnan().all()


def test_normals_are_l1_on_their_components() -> None:
    found = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert normal_loss(found, torch.tensor([0.6, 0.0, 0.8]).view(1, 3, 1, 1)).item() == pytest.approx(0.8 / 3)


def test_pixels_without_a_target_get_no_gradient_and_no_nan() -> None:
    found, goal = _predictions(), targets()
    total_loss(dense_terms(found, goal), Weights()).backward()  # type: ignore[no-untyped-call]  # torch's
    gradients = [cast(Tensor, cast(Tensor, each).grad) for each in (found.classes, found.depth, found.normals)]
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0
    assert gradients[0][:, :, :2].abs().max() == 0
    assert gradients[1][:, :, :3].abs().max() == 0
    assert gradients[2][:, :, -2:].abs().max() == 0


def test_targets_without_a_single_pixel_cost_nothing_and_teach_nothing() -> None:
    empty = Targets(torch.full((4, 16, 16), NO_CLASS), torch.full((4, 16, 16), NAN), torch.full((4, 3, 16, 16), NAN))
    found = _predictions()
    terms = dense_terms(found, empty)
    assert {name: value.item() for name, value in terms.items()} == {"classes": 0, "depth": 0, "normals": 0}
    total_loss(terms, Weights()).backward()  # type: ignore[no-untyped-call]  # torch's
    assert cast(Tensor, cast(Tensor, found.depth).grad).abs().max() == 0


def test_a_missing_target_or_head_switches_its_term_off() -> None:
    assert set(dense_terms(_predictions(), targets().only(classes=False, depth=True, normals=False))) == {"depth"}
    assert set(dense_terms(Predictions(depth=_predictions().depth), targets())) == {"depth"}
    assert dense_terms(_predictions(), Targets()) == {}


def test_the_total_is_the_weighted_sum() -> None:
    terms = {"clip": torch.tensor(2.0), "classes": torch.tensor(3.0), "depth": torch.tensor(0.5)}
    assert total_loss(terms, Weights()).item() == pytest.approx(2 + 0.3 + 0.5)
    assert total_loss(terms, Weights(depth=0.0)).item() == pytest.approx(2.3)
