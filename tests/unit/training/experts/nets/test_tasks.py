"""What the experts trained here lose by, and how they answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.experts.nets.tasks import FARTHEST, ClassBalance, Task, log_depth, log_depth_loss
from training.experts.protocol import Identity, Kind, check_maps
from training.experts.targets import NO_CLASS

pytestmark = pytest.mark.torch


def test_the_sky_is_as_far_as_the_farthest_and_the_unknown_stays_unknown() -> None:
    found = log_depth(torch.tensor([[[0.5, 0.0, 1 / (2 * FARTHEST), math.nan]]]))[0, 0]
    assert found[:3].tolist() == pytest.approx([math.log(2), math.log(FARTHEST), math.log(FARTHEST)])
    assert math.isnan(found[3])


def test_an_error_of_scale_costs_half_of_its_square() -> None:
    disparity = torch.tensor([[[0.5, 0.25, math.nan]]])
    right = log_depth(disparity).nan_to_num(9.0)
    assert float(log_depth_loss(right, disparity)) == pytest.approx(1e-3)
    assert float(log_depth_loss(right + 0.4, disparity)) == pytest.approx(math.sqrt(0.16 - 0.5 * 0.16), rel=1e-4)


def test_an_error_of_shape_costs_all_of_its_square() -> None:
    disparity = torch.tensor([[[0.5, 0.25]]])
    bent = log_depth(disparity) + torch.tensor([0.3, -0.3])
    assert float(log_depth_loss(bent, disparity)) == pytest.approx(0.3)


def test_pictures_of_which_nothing_is_known_do_not_count() -> None:
    disparity = torch.tensor([[[0.5, 0.25]], [[math.nan, math.nan]]])
    found = log_depth(disparity).nan_to_num(0) + torch.tensor([0.3, -0.3])
    assert float(log_depth_loss(found, disparity)) == pytest.approx(0.3)
    lonely = torch.zeros(1, 1, 2, requires_grad=True)
    log_depth_loss(lonely, disparity[1:]).backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    assert lonely.grad is not None
    assert not lonely.grad.any()


def test_classes_that_are_rare_weigh_more_and_a_pixel_weighs_one_in_the_mean() -> None:
    weights = ClassBalance.of_counts(np.array([900, 100, 0])).weights
    assert weights[1] == pytest.approx(3 * weights[0], rel=1e-4)
    assert weights[2] == 0
    assert 0.9 * weights[0] + 0.1 * weights[1] == pytest.approx(1, rel=1e-4)


def test_class_loss_leaves_out_what_has_no_class() -> None:
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 1, 0, 1] = 50.0
    truth = torch.tensor([[[0, NO_CLASS]]])
    assert float(Task.CLASSES.loss(logits, truth)) == pytest.approx(math.log(2))


def test_normals_cost_less_where_they_are_right() -> None:
    truth = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)
    sure = torch.tensor([0.0, 0.0, -2.0, 3.0]).view(1, 4, 1, 1)
    assert float(Task.NORMALS.loss(sure, truth)) < float(
        Task.NORMALS.loss(-sure * torch.tensor([1, 1, 1, -1.0]).view(1, 4, 1, 1), truth)
    )


@pytest.mark.parametrize("task", list(Task))
def test_answers_are_what_their_kind_promises(task: Task) -> None:
    found = torch.randn(2, task.outputs(7), 4, 6)
    answer = task.answer(found)
    check_maps(answer, np.zeros((2, 4, 6, 3), np.uint8), Identity("made up", "1", "00", task.kind))


def test_depth_is_answered_as_disparity_and_normals_as_unit_vectors() -> None:
    assert Task.DEPTH.kind is Kind.DISPARITY
    assert Task.DEPTH.answer(torch.full((1, 1, 1, 1), math.log(4.0))).item() == pytest.approx(0.25)
    normal = Task.NORMALS.answer(torch.tensor([3.0, 0.0, -4.0, 0.7]).view(1, 4, 1, 1))[0, 0, 0]
    assert normal.tolist() == pytest.approx([0.6, 0.0, -0.8])
