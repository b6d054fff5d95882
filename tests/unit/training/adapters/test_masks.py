"""Masks of the scales."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.adapters.masks import distance, image_windows, text_bands

pytestmark = pytest.mark.torch

SHARES = st.floats(0.01, 1)


def test_a_band_holds_the_neighbours_nearer_than_d() -> None:
    (band,) = text_bands(5, {"M": 0.4})
    assert band.int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1],
    ]


def test_a_window_is_a_square_around_its_patch_and_not_a_band() -> None:
    (window,) = image_windows(4, 4, {"S": 0.5})  # D = 2: one patch to every side
    seen = window[1 + 5, 1:].view(4, 4)  # by the patch in row 1, column 1
    assert seen.int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    edge = window[1 + 3, 1:].view(4, 4)  # the last of row 0 does not see the first of row 1
    assert edge.int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_windows_follow_rows_of_a_grid_that_is_not_square() -> None:
    (window,) = image_windows(2, 3, {"S": 0.67})  # D = ceil(0.67 * 3) = 3: everything
    assert window.all()
    (window,) = image_windows(2, 3, {"S": 0.5})  # D = 2
    assert window[1, 1:].view(2, 3).int().tolist() == [[1, 1, 0], [1, 1, 0]]


@given(st.integers(1, 6), st.integers(1, 6), SHARES)
def test_the_class_token_sees_and_is_seen_at_every_scale(rows: int, columns: int, share: float) -> None:
    (window,) = image_windows(rows, columns, {"S": share})
    assert window[0].all()
    assert window[:, 0].all()


@given(st.integers(1, 40), SHARES, SHARES)
def test_smaller_scales_lie_within_larger_ones_and_everybody_sees_itself(length: int, one: float, other: float) -> None:
    large, middle, small = text_bands(length, {"L": 1.0, "M": max(one, other), "S": min(one, other)})
    assert large.all()
    assert (small <= middle).all()
    assert small.diagonal().all()
    assert torch.equal(small, small.T)


def test_d_is_a_share_of_the_row_rounded_up() -> None:
    assert [distance(share, 14) for share in (1.0, 0.5, 0.25)] == [14, 7, 4]
    assert distance(0.1, 30) == 3  # 0.1 * 30 is a little more than 3 in floating point
    assert distance(0.01, 8) == 1
