"""Dense labels as a few bytes: PNG, of 8 bits for classes, 16 for depth and disparity, 2 times 8 for normals.

Classes come back as they were. Depth and disparity are steps between the smallest and largest value of the picture,
65,534 of them; normals are octahedral coordinates (a sphere unfolded onto a square) in steps of 1/127, which is off by
less than one degree. 0 stands for unknown in both.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.experts.errors import ExpertError
from training.experts.protocol import Dense, Kind

DEPTH_STEPS = 65_534
NORMAL_STEPS = 127  # from the middle to either side


@dataclass(frozen=True)
class Encoded:
    """One map. low, high: what the first and the last step of a depth or disparity stand for; nan for other kinds."""

    payload: bytes
    low: float = float("nan")
    high: float = float("nan")


def encode(kind: Kind, label: Dense) -> Encoded:
    """One map, [h, w] or [h, w, 3] as `Kind` says. Raises `ExpertError` if it says nothing of any pixel."""
    if kind is Kind.CLASSES:
        return Encoded(_png(label))
    known = np.asarray(np.isfinite(label) if label.ndim == 2 else np.isfinite(label).all(axis=-1), dtype=np.bool_)
    if not known.any():
        raise ExpertError(f"the expert knows the {kind} of no pixel")
    if kind is Kind.NORMALS:
        return Encoded(_png(_fold(label, known)))
    low, high = float(label[known].min()), float(label[known].max())
    share = (np.where(known, label, low).astype(np.float64) - low) / max(high - low, 1e-30)
    steps = np.where(known, 1 + np.rint(DEPTH_STEPS * share), 0)
    return Encoded(_png(steps.astype(np.uint16)), low, high)


def decode(kind: Kind, encoded: Encoded) -> Dense:
    """What `encode` was given, to within a step."""
    with Image.open(io.BytesIO(encoded.payload)) as picture:
        found = np.array(picture)
    if kind is Kind.CLASSES:
        return found
    if kind is Kind.NORMALS:
        vectors: Dense = np.take(_vectors(), found[..., 0].astype(np.intp) * 256 + found[..., 1], axis=0)
        return vectors
    value = encoded.low + (found.astype(np.float64) - 1) * ((encoded.high - encoded.low) / DEPTH_STEPS)
    return np.where(found == 0, np.nan, value).astype(np.float32)


def _png(pixels: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _fold(normals: Dense, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """uint8[h, w, 2]: octahedral coordinates from 1 to 255, 0 where unknown."""
    unit = np.where(known[..., None], normals, (0.0, 0.0, 1.0)).astype(np.float64)
    flat = unit[..., :2] / np.abs(unit).sum(axis=-1, keepdims=True)
    behind = (1 - np.abs(flat[..., ::-1])) * np.where(flat >= 0, 1.0, -1.0)
    square = np.where(unit[..., 2:] < 0, behind, flat)
    steps = np.rint(square * NORMAL_STEPS) + NORMAL_STEPS + 1
    return np.where(known[..., None], steps, 0).astype(np.uint8)


@cache
def _vectors() -> npt.NDArray[np.float32]:
    """float32[65536, 3]: the vector of every pair of coordinates. To look it up takes a tenth of computing it."""
    steps = np.arange(256, dtype=np.uint8)
    return _unfold(np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2))


def _unfold(steps: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    square = (steps.astype(np.float64) - NORMAL_STEPS - 1) / NORMAL_STEPS
    z = 1 - np.abs(square).sum(axis=-1, keepdims=True)
    behind = (1 - np.abs(square[..., ::-1])) * np.where(square >= 0, 1.0, -1.0)
    normals = np.concatenate([np.where(z < 0, behind, square), z], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where((steps == 0).any(axis=-1, keepdims=True), np.nan, normals).astype(np.float32)
