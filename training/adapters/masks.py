"""Which positions see each other at each scale (equations 7 and 8)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from training.adapters.design import Scale

# Stands for minus infinity in additive masks: exp of it is 0 in every float format, yet rows in which everything is
# masked (a padded position under a tower's own padding mask) stay finite.
LOW = -1e30


def distance(share: float, size: int) -> int:
    """D for a scale that spans `share` of `size` positions in a row: rounded up, at least 1 (one sees oneself)."""
    return max(1, math.ceil(share * size - 1e-9))


def text_bands(length: int, reach: Mapping[Scale, float]) -> Tensor:
    """Equation 7: bool[s, L, L], True where |i - j| < D of the scale; the full scale is all True.

    Start, end and padding tokens are positions like others. A causal tower's mask is combined with this one where it is
    used, so no token sees a later one at any scale; padding comes after the end token, at which a causal tower is
    read, and therefore never enters the answer. Towers that are not causal bring a padding mask of their own.
    """
    index = torch.arange(length)
    gap = (index[:, None] - index[None, :]).abs()
    return torch.stack([gap < distance(share, length) for share in reach.values()])


def image_windows(rows: int, columns: int, reach: Mapping[Scale, float]) -> Tensor:
    """Equation 8: bool[s, 1 + rows * columns, ...], True where patches lie less than D apart along both axes.

    D is taken of the longer side. Equation 8 numbers patches alone; the class token in front of them sees everything
    and is seen by everything at every scale, as a global token does in Longformer: a tower that is read there would
    otherwise see nothing at the smaller scales.
    """
    index = torch.arange(rows * columns)
    x, y = index // columns, index % columns
    gap = torch.maximum((x[:, None] - x[None, :]).abs(), (y[:, None] - y[None, :]).abs())
    windows = torch.ones(len(reach), rows * columns + 1, rows * columns + 1, dtype=torch.bool)
    for window, share in zip(windows, reach.values(), strict=True):
        window[1:, 1:] = gap < distance(share, max(rows, columns))
    return windows
