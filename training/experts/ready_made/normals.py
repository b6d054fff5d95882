"""Surface normals from disparity.

A plane n·P = d seen through a pinhole has the disparity D = n·ray / d, which is linear in the picture: with x and y on
the plane z = 1, n is along (∂D/∂x, ∂D/∂y, D - x ∂D/∂x - y ∂D/∂y). Differences of neighbours give that exactly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def focal_of(view_degrees: float, height: int, width: int) -> float:
    """Focal length in pixels of a camera that sees `view_degrees` along the shorter side."""
    return 0.5 * min(height, width) / float(np.tan(np.radians(view_degrees) / 2))


def normals_from_disparity(disparity: npt.NDArray[np.floating], focal_px: float) -> npt.NDArray[np.float32]:
    """float32[n, h, w, 3], unit, towards the camera, for disparities (1 / depth) float[n, h, w]; nan where one is not
    known. The optical axis goes through the middle. At the edge of an object the slope is that of one side."""
    near = disparity.astype(np.float64)
    height, width = near.shape[1:]
    x = (np.arange(width) + 0.5 - width / 2) / focal_px
    y = ((np.arange(height) + 0.5 - height / 2) / focal_px)[:, None]
    slope_x, slope_y = focal_px * _slope(near, axis=2), focal_px * _slope(near, axis=1)
    towards = -np.stack([slope_x, slope_y, near - x * slope_x - y * slope_y], axis=-1)
    lengths = np.linalg.norm(towards, axis=-1, keepdims=True)
    unit = np.divide(towards, lengths, out=np.full_like(towards, np.nan), where=lengths > 0)
    return np.asarray(unit, dtype=np.float32)


def _slope(values: Floats, axis: int) -> Floats:
    """Change per pixel: the mean of both sides where they agree, else the gentler one, since the steeper one leads over
    an edge; the one that is known where only one is."""
    steps = np.diff(values, axis=axis)
    none = np.full_like(np.take(values, [0], axis=axis), np.nan)
    before, after = np.concatenate([none, steps], axis=axis), np.concatenate([steps, none], axis=axis)
    gentle = np.where(np.abs(before) <= np.abs(after), before, after)
    gentle = np.where(np.isnan(before), after, np.where(np.isnan(after), before, gentle))
    steep = np.maximum(np.abs(before), np.abs(after))
    agree = (before * after >= 0) & (steep <= 2 * np.minimum(np.abs(before), np.abs(after)))
    return np.where(agree, (before + after) / 2, gentle)
