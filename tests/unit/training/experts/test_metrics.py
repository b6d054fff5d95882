"""Measures of dense predictions, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from tests.unit.training.experts.made_up import unit_normals
from training.experts.metrics import (
    absolute_relative_errors,
    aligned,
    angles,
    angular_loss,
    attenuated_angular_loss,
    class_ious,
    confusions,
    disparity,
    mean_angles,
    mean_iou,
    share_within,
    ssi_errors,
    ssi_loss,
)

pytestmark = pytest.mark.torch

NAN = math.nan


def test_confusions_count_truth_along_rows_and_leave_unknown_pixels_out() -> None:
    truth = torch.tensor([[[0, 0, 1], [1, 2, -1]]])
    found = torch.tensor([[[0, 1, 1], [1, 0, 2]]])
    assert confusions(found, truth, 3)[0].tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_mean_iou_by_hand() -> None:
    confusion = torch.tensor([[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    ious = class_ious(confusion)
    assert ious[:3].tolist() == pytest.approx([1 / 3, 2 / 3, 0.0])
    assert math.isnan(ious[3].item())
    assert mean_iou(confusion).item() == pytest.approx(1 / 3)


def test_a_perfect_map_has_a_mean_iou_of_one_and_a_class_invented_lowers_it() -> None:
    truth = torch.tensor([[[0, 0], [1, 1]]])
    assert mean_iou(confusions(truth, truth, 5)[0]).item() == 1
    wrong = torch.tensor([[[0, 0], [1, 4]]])
    assert mean_iou(confusions(wrong, truth, 5)[0]).item() == pytest.approx((1 + 0.5 + 0) / 3)


def test_disparity_is_the_inverse_and_unknown_where_depth_is() -> None:
    found = disparity(torch.tensor([[[2.0, math.inf, 0.0, -1.0, NAN]]]))[0, 0]
    assert found[:2].tolist() == [0.5, 0.0]
    assert found[2:].isnan().all()


def test_alignment_is_numpys_least_squares_line() -> None:
    generator = torch.Generator().manual_seed(0)
    found, target = torch.randn(2, 4, 5, generator=generator), torch.randn(2, 4, 5, generator=generator)
    target[0, 0, :3] = NAN
    lines = aligned(found.double(), target.double())
    for x, y, line in zip(found.double(), target.double(), lines, strict=True):
        known = ~y.isnan()
        design = torch.stack([x[known], torch.ones(int(known.sum()))], dim=1)
        scale, shift = torch.linalg.lstsq(design, y[known][:, None]).solution[:, 0].tolist()
        assert torch.allclose(line, scale * x + shift)


def test_the_ssi_loss_sees_neither_scale_nor_shift() -> None:
    target = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(2))
    assert ssi_loss(target * 7 - 3, target).item() == pytest.approx(0, abs=1e-10)
    assert ssi_loss(target * -2 + 1, target).item() == pytest.approx(0, abs=1e-10)


def test_the_ssi_loss_by_hand() -> None:
    """Best line through (0, 0), (1, 2), (2, 1) is x / 2 + 1 / 2: off by -1/2, 1, -1/2; half of the mean square is 1/4.
    A flat prediction can only be the mean, 1: off by 1, 1 and 0."""
    target = torch.tensor([[[0.0, 2.0, 1.0, NAN]]])
    assert ssi_loss(torch.tensor([[[0.0, 1.0, 2.0, 9.0]]]), target).item() == pytest.approx(1.5 / 6)
    assert ssi_loss(torch.full((1, 1, 4), 3.0), target).item() == pytest.approx(2 / 6)


def test_pictures_without_depth_are_left_out() -> None:
    found, target = torch.rand(2, 3, 3), torch.rand(2, 3, 3)
    target[1] = NAN
    assert ssi_errors(found, target).isnan().tolist() == [False, True]
    assert ssi_loss(found, target).item() == pytest.approx(ssi_errors(found, target)[0].item())
    assert absolute_relative_errors(found, target, cap=10).isnan().tolist() == [False, True]
    found.requires_grad_()
    ssi_loss(found, target).backward()  # type: ignore[no-untyped-call]  # torch's
    assert found.grad is not None
    assert found.grad.isfinite().all()
    assert ssi_loss(found, torch.full_like(target, NAN)).item() == 0


def test_a_disparity_that_is_right_up_to_scale_and_shift_has_no_relative_error() -> None:
    depth = torch.rand(1, 5, 5, generator=torch.Generator().manual_seed(3)) * 4 + 1
    assert absolute_relative_errors(3 / depth - 8, depth, cap=10).item() == pytest.approx(0, abs=1e-5)


def test_the_absolute_relative_error_by_hand() -> None:
    """A flat prediction becomes the mean disparity, (1 + 1/4) / 2 = 5/8, a depth of 1.6 against 1 and 4."""
    depth = torch.tensor([[[1.0, 4.0, NAN]]])
    assert absolute_relative_errors(torch.zeros(1, 1, 3), depth, cap=10).item() == pytest.approx((0.6 + 2.4 / 4) / 2)


def test_depths_are_capped_and_what_lies_beyond_does_not_count() -> None:
    depth = torch.tensor([[[1.0, 2.0, 80.0]]])
    within = torch.tensor([[[1.0, 2.0, NAN]]])
    found = torch.tensor([[[0.9, 0.4, 0.1]]])
    assert torch.equal(absolute_relative_errors(found, depth, cap=10), absolute_relative_errors(found, within, cap=10))
    # Aligned to disparities 1, 1/2 and 1/4, the line goes through 0 where the depth would be endless: the cap holds it.
    steep = absolute_relative_errors(torch.tensor([[[4.0, 1.0, 0.0]]]), torch.tensor([[[1.0, 2.0, 4.0]]]), cap=4)
    assert steep.isfinite().all()


def test_angles_by_hand() -> None:
    found = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]).T.view(1, 3, 2, 2)
    truth = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [NAN] * 3]).T.view(1, 3, 2, 2)
    off = angles(found, truth)
    assert off.flatten()[:3].tolist() == pytest.approx([0.0, 90.0, 180.0])
    assert mean_angles(off).item() == pytest.approx(90)
    assert share_within(off).item() == pytest.approx(1 / 3)


def test_small_angles_are_not_lost_in_rounding() -> None:
    tilt = math.radians(0.01)
    truth = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    found = torch.tensor([math.sin(tilt), 0.0, math.cos(tilt)]).view(1, 3, 1, 1)
    assert angles(found, truth).item() == pytest.approx(0.01, rel=1e-4)


def test_thirty_degrees_are_not_within_thirty() -> None:
    degrees = torch.tensor([[[29.99, 30.0], [NAN, 5.0]]], dtype=torch.float64)
    assert share_within(degrees).item() == pytest.approx(2 / 3)
    assert share_within(torch.full((1, 2, 2), NAN, dtype=torch.float64)).isnan().all()


def test_the_angular_loss_is_the_mean_angle_of_vectors_of_any_length() -> None:
    truth, other = unit_normals(2, 4), unit_normals(2, 4, seed=1)
    truth[0, :, 0] = NAN
    known = ~truth.isnan().any(dim=1)
    expected = torch.deg2rad(angles(other, truth)[known].mean()).item()
    assert angular_loss(other * 5, truth).item() == pytest.approx(expected, rel=1e-4)


def test_angular_losses_have_gradients_where_the_angle_is_none_and_none_where_nothing_is_known() -> None:
    truth = unit_normals(1, 3)
    truth[:, :, 0] = NAN
    sure = torch.cat([unit_normals(1, 3), torch.zeros(1, 1, 3, 3)], dim=1).requires_grad_()
    attenuated_angular_loss(sure, truth).backward()  # type: ignore[no-untyped-call]  # torch's
    assert sure.grad is not None
    assert sure.grad.isfinite().all()
    assert sure.grad[:, :, 0].abs().max() == 0
    assert attenuated_angular_loss(sure, torch.full_like(truth, NAN)).item() == 0
    assert angular_loss(sure[:, :3], torch.full_like(truth, NAN)).item() == 0


def test_the_attenuated_loss_by_hand_and_its_density_sums_to_one() -> None:
    """The density (k^2 + 1) exp(-k a) / (2 pi (1 + exp(-k pi))) over the sphere; the loss leaves the 2 pi out."""
    truth = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    raw = 1.5
    kappa = functional.elu(torch.tensor(raw)).item() + 1.01
    across = torch.tensor([1.0, 0.0, 0.0, raw]).view(1, 4, 1, 1)
    expected = kappa * math.pi / 2 - math.log(kappa**2 + 1) + math.log(1 + math.exp(-kappa * math.pi))
    assert attenuated_angular_loss(across, truth).item() == pytest.approx(expected, rel=1e-5)
    steps = torch.linspace(0, math.pi, 20001, dtype=torch.float64)
    density = (kappa**2 + 1) * torch.exp(-kappa * steps) / (2 * math.pi * (1 + math.exp(-kappa * math.pi)))
    assert torch.trapezoid(density * 2 * math.pi * steps.sin(), steps).item() == pytest.approx(1, rel=1e-5)
