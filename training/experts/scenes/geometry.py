"""Shapes that rays meet in closed form (the torus by sphere tracing), each in a frame of its own.

Rays are `origin + t * direction`, directions of any length. A shape answers with the first `t` at which a ray that
starts outside enters it, and with the outward normal of a point on its surface. Everything is float64: a small object
far away loses half of float32's digits in the quadratic formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEAREST_T = 1e-6
"""Hits closer to a ray's origin than this are the surface that the ray starts from."""

TORUS_STEPS = 256  # rays that graze a tube need the most; all others have arrived or left long before
TORUS_REACH = 1e-5  # sphere tracing has arrived at this distance, in units of the major radius


class Shape(Protocol):
    """A closed surface around the origin."""

    @property
    def extent(self) -> Floats:
        """float64[3]: half the sides of a box around the origin that holds the shape."""

    def hit(self, origins: Floats, directions: Floats) -> Floats:
        """float64[n]: `t` at which each ray enters, inf for none. `origins`: [n, 3] or [1, 3], `directions`: [n, 3]."""

    def normals(self, points: Floats) -> Floats:
        """float64[n, 3]: outward normals (of any length) at `points[n, 3]` on the surface."""


def _dot(a: Floats, b: Floats) -> Floats:
    product: Floats = np.einsum("ij,ij->i", *np.broadcast_arrays(a, b))
    return product


@dataclass(frozen=True)
class Sphere:
    """The unit sphere."""

    @property
    def extent(self) -> Floats:
        return np.ones(3)

    def hit(self, origins: Floats, directions: Floats) -> Floats:
        return _enter_sphere(origins, directions, 1.0)

    def normals(self, points: Floats) -> Floats:
        return points


def _enter_sphere(origins: Floats, directions: Floats, radius: float) -> Floats:
    a, b = _dot(directions, directions), _dot(origins, directions)
    root = b * b - a * (_dot(origins, origins) - radius * radius)
    t = (-b - np.sqrt(np.maximum(root, 0))) / a
    return np.where((root > 0) & (t > NEAREST_T), t, np.inf)


@dataclass(frozen=True)
class Frustum:
    """A solid of revolution around z from z = -1 (radius 1) to z = 1 (radius `top`): a cylinder for 1, a cone for 0."""

    top: float = 1.0

    @property
    def extent(self) -> Floats:
        widest = max(1.0, self.top)
        return np.array([widest, widest, 1.0])

    def _slope(self) -> tuple[float, float]:
        """Radius at z = 0, and its growth with z."""
        return (1 + self.top) / 2, (self.top - 1) / 2

    def hit(self, origins: Floats, directions: Floats) -> Floats:
        middle, slope = self._slope()
        (ox, oy, oz), (dx, dy, dz) = origins.T, directions.T
        radius = middle + slope * oz
        a = dx * dx + dy * dy - (slope * dz) ** 2
        b = ox * dx + oy * dy - slope * dz * radius
        root = b * b - a * (ox * ox + oy * oy - radius * radius)
        best = np.full(len(directions), np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            edge = np.sqrt(root)  # nan where the ray misses the side, which every comparison below turns down
            for t in ((-b - edge) / a, (-b + edge) / a):
                z = oz + t * dz
                good = (np.abs(z) <= 1) & (t > NEAREST_T) & (t < best)
                best = np.where(good, t, best)
            for level, reach in ((-1.0, 1.0), (1.0, self.top)):
                t = (level - oz) / dz
                inside = (ox + t * dx) ** 2 + (oy + t * dy) ** 2 <= reach * reach
                best = np.where(inside & (t > NEAREST_T) & (t < best), t, best)
        return best

    def normals(self, points: Floats) -> Floats:
        middle, slope = self._slope()
        x, y, z = points.T
        around = np.hypot(x, y)
        side = np.abs(around - (middle + slope * z))
        to_cap = 1 - np.abs(z)
        capped = np.abs(to_cap) < side
        lean = np.stack([x, y, -slope * around], axis=1)
        flat = np.stack([np.zeros_like(z), np.zeros_like(z), np.sign(z)], axis=1)
        return np.where(capped[:, None], flat, lean)


@dataclass(frozen=True, eq=False)
class Polyhedron:
    """A convex solid: every point p with `planes @ p <= offsets`. planes: float64[m, 3], unit rows, offsets: [m]."""

    planes: Floats
    offsets: Floats
    extent: Floats

    def hit(self, origins: Floats, directions: Floats) -> Floats:
        towards = directions @ self.planes.T
        room = self.offsets - origins @ self.planes.T
        with np.errstate(divide="ignore", invalid="ignore"):
            t = room / towards
        enter = np.where(towards < 0, t, -np.inf).max(axis=1)
        leave = np.where(towards > 0, t, np.inf).min(axis=1)
        beside = ((towards == 0) & (room < 0)).any(axis=1)
        return np.where((enter < leave) & (enter > NEAREST_T) & ~beside, enter, np.inf)

    def normals(self, points: Floats) -> Floats:
        nearest: Floats = self.planes[np.argmax(points @ self.planes.T - self.offsets, axis=1)]
        return nearest


def box() -> Polyhedron:
    """The cube from -1 to 1 along every axis."""
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    return Polyhedron(axes, np.ones(6), np.ones(3))


def _unit_rows(rows: list[tuple[float, float, float]]) -> tuple[Floats, Floats]:
    planes = np.array(rows, dtype=np.float64)
    lengths = np.linalg.norm(planes, axis=1)
    return planes / lengths[:, None], lengths


def prism() -> Polyhedron:
    """A roof: base from -1 to 1 at z = -1, its ridge along x at z = 1."""
    planes, lengths = _unit_rows([(1, 0, 0), (-1, 0, 0), (0, 2, 1), (0, -2, 1), (0, 0, -1)])
    return Polyhedron(planes, np.ones(5) / lengths, np.ones(3))


def pyramid() -> Polyhedron:
    """Base from -1 to 1 at z = -1, apex at z = 1."""
    planes, lengths = _unit_rows([(2, 0, 1), (-2, 0, 1), (0, 2, 1), (0, -2, 1), (0, 0, -1)])
    return Polyhedron(planes, np.ones(5) / lengths, np.ones(3))


@dataclass(frozen=True)
class Torus:
    """A ring in the plane z = 0 of radius 1, its tube of radius `tube`."""

    tube: float = 0.3

    @property
    def extent(self) -> Floats:
        return np.array([1 + self.tube, 1 + self.tube, self.tube])

    def _distance(self, points: Floats) -> Floats:
        x, y, z = points.T
        distance: Floats = np.hypot(np.hypot(x, y) - 1, z) - self.tube
        return distance

    def hit(self, origins: Floats, directions: Floats) -> Floats:
        origins = np.broadcast_to(origins, directions.shape)
        reached = np.full(len(directions), np.inf)
        outside = _dot(origins, origins) > (1 + self.tube) ** 2
        start = np.where(outside, _enter_sphere(origins, directions, 1 + self.tube), NEAREST_T)
        live = np.flatnonzero(np.isfinite(start))
        t, length = start[live], np.linalg.norm(directions[live], axis=1)
        for _ in range(TORUS_STEPS):
            points = origins[live] + t[:, None] * directions[live]
            gap = self._distance(points)
            there = gap < TORUS_REACH
            reached[live[there]] = t[there]
            left = ~there & (_dot(points, points) <= (1.001 + self.tube) ** 2)
            if not left.any():
                break
            live, t, length, gap = live[left], t[left], length[left], gap[left]
            t = t + gap / length
        return reached

    def normals(self, points: Floats) -> Floats:
        x, y, z = points.T
        around = np.hypot(x, y)
        keep = 1 - 1 / np.maximum(around, 1e-12)
        return np.stack([x * keep, y * keep, z], axis=1)


@dataclass(frozen=True)
class Plane:
    """The plane z = 0, seen from above."""

    @property
    def extent(self) -> Floats:
        return np.array([np.inf, np.inf, 0.0])

    def hit(self, origins: Floats, directions: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = -origins[:, 2] / directions[:, 2]
        return np.where((directions[:, 2] < 0) & (t > NEAREST_T), t, np.inf)

    def normals(self, points: Floats) -> Floats:
        return np.broadcast_to(np.array([0.0, 0.0, 1.0]), points.shape)


@dataclass(frozen=True, eq=False)
class Affine:
    """`matrix @ p + offset`: float64[3, 3] and float64[3]."""

    matrix: Floats
    offset: Floats

    def __matmul__(self, inner: Affine) -> Affine:
        """`inner` first, then this one."""
        return Affine(self.matrix @ inner.matrix, self.matrix @ inner.offset + self.offset)

    def inverse(self) -> Affine:
        back: Floats = np.linalg.inv(self.matrix).astype(np.float64)
        return Affine(back, -back @ self.offset)

    def points(self, points: Floats) -> Floats:
        """float64[n, 3] for float64[n, 3]."""
        moved: Floats = points @ self.matrix.T + self.offset
        return moved


def place(
    at: tuple[float, float, float] = (0, 0, 0),
    scale: float | tuple[float, float, float] = 1.0,
    turn: Floats | None = None,
) -> Affine:
    """Scale along the axes, then turn by a rotation matrix, then move."""
    sizes = np.broadcast_to(np.asarray(scale, dtype=np.float64), 3)
    matrix = np.diag(sizes) if turn is None else turn @ np.diag(sizes)
    return Affine(matrix, np.array(at, dtype=np.float64))


def rotation(axis: int, angle: float) -> Floats:
    """Turn by `angle` (radians) around x, y or z (0, 1, 2), counter-clockwise seen from the axis' tip."""
    sine, cosine = np.sin(angle), np.cos(angle)
    turn = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[i, i] = turn[j, j] = cosine
    turn[i, j], turn[j, i] = -sine, sine
    return turn
