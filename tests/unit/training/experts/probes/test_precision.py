"""Average precision against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.experts.probes.boxes import Detections, Objects
from training.experts.probes.precision import (
    OVERLAPS,
    average_precisions,
    interpolated_precision,
    mean_average_precision,
)

pytestmark = pytest.mark.torch

A, B, FAR = [0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 1.0, 1.0], [0.6, 0.0, 0.9, 0.3]


def _truth(*items: tuple[list[float], int]) -> Objects:
    return Objects(torch.tensor([box for box, _ in items]).view(-1, 4), torch.tensor([c for _, c in items]).long())


def _found(*items: tuple[list[float], int, float]) -> Detections:
    return Detections(
        torch.tensor([box for box, _, _ in items]).view(-1, 4),
        torch.tensor([label for _, label, _ in items]).long(),
        torch.tensor([score for _, _, score in items]),
    )


def test_the_curve_by_hand() -> None:
    """Right, wrong, right of four objects: precision 1 up to recall 1/4 (26 levels), 2/3 up to 1/2 (25), then none."""
    assert interpolated_precision(np.array([True, False, True]), 4) == pytest.approx((26 + 25 * 2 / 3) / 101)
    assert interpolated_precision(np.array([True]), 1) == 1
    assert interpolated_precision(np.array([], dtype=np.bool_), 3) == 0


def test_a_level_of_recall_that_is_reached_exactly_counts() -> None:
    hits = np.zeros(20, dtype=np.bool_)
    hits[:2] = True
    assert interpolated_precision(hits, 20) == pytest.approx(11 / 101)  # 0, 0.01, ..., 0.10


def test_everything_found_is_one_and_nothing_found_is_zero() -> None:
    truth = [_truth((A, 0), (B, 1)), _truth((FAR, 1))]
    perfect = [_found((A, 0, 0.9), (B, 1, 0.8)), _found((FAR, 1, 0.7))]
    assert mean_average_precision(perfect, truth, 2) == 1
    assert mean_average_precision([_found(), _found()], truth, 2) == 0


def test_a_class_that_is_on_no_picture_does_not_count() -> None:
    found = average_precisions([_found((A, 0, 0.9), (B, 1, 0.9))], [_truth((A, 0))], 2, 0.5)
    assert found[0] == 1
    assert math.isnan(found[1])


def test_a_box_found_twice_is_right_once() -> None:
    truth = [_truth((A, 0), (B, 0))]
    found = [_found((A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7))]
    # right, wrong, right of two: 1 up to 1/2 (51 levels), then 2/3
    assert average_precisions(found, truth, 1, 0.5)[0] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_scores_are_ranked_over_all_pictures() -> None:
    truth = [_truth((A, 0)), _truth((A, 0))]
    found = [_found((FAR, 0, 0.8)), _found((A, 0, 0.9))]
    assert average_precisions(found, truth, 1, 0.5)[0] == pytest.approx(51 / 101)
    better = [_found((FAR, 0, 0.95)), _found((A, 0, 0.9))]
    assert average_precisions(better, truth, 1, 0.5)[0] == pytest.approx(51 / 2 / 101)


def test_the_right_box_of_the_wrong_class_is_wrong() -> None:
    assert average_precisions([_found((A, 1, 0.9))], [_truth((A, 0), (B, 1))], 2, 0.5).tolist() == [0.0, 0.0]


def test_the_mean_is_over_ten_overlaps() -> None:
    """A box of 0.4 by 0.3 in one of 0.4 by 0.4 overlaps it by 3/4: right for 0.5 to 0.75 (six), wrong from 0.8 on."""
    assert [round(each, 2) for each in OVERLAPS] == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    found = [_found(([0.0, 0.0, 0.4, 0.2999], 0, 0.9))]
    lower = [_found(([0.0, 0.0, 0.4, 0.3001], 0, 0.9))]
    assert mean_average_precision(lower, [_truth((A, 0))], 1) == pytest.approx(0.6)
    assert mean_average_precision(found, [_truth((A, 0))], 1) == pytest.approx(0.5)


def test_pictures_without_any_object_have_no_precision() -> None:
    with pytest.raises(ValueError, match="no picture has an object"):
        mean_average_precision([_found((A, 0, 0.5))], [_truth()], 1)
