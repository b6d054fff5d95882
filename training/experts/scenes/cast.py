"""Which surface each ray meets first, and what stands between a point and the light.

Directions are `(x, y, 1)` in the camera's frame, so that a ray's `t` is the depth along the optical axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.experts.scenes.geometry import Affine, Floats
from training.experts.scenes.layout import Stage
from training.experts.scenes.parts import Part

FARTHEST = 100.0
"""Surfaces beyond this depth are not seen: ground that far is sky."""

LIFT = 1e-4
"""Points are lifted off their surface by this, per unit of depth, before they look for the light."""

NEAREST_WINDOW = 0.05
"""What comes nearer to the camera's plane than this may be seen along any direction."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bounds:
    """Where something is at most. centre, radius: of a ball that holds it, in the camera's frame; window: x and y of
    directions that may meet it, (low x, high x, low y, high y)."""

    centre: Floats
    radius: float
    window: tuple[float, float, float, float]

    def seen_along(self, directions: Floats) -> Ints:
        """Indices of those `directions[n, 3]` that go through the window."""
        left, right, top, bottom = self.window
        x, y = directions[:, 0], directions[:, 1]
        return np.flatnonzero((x >= left) & (x <= right) & (y >= top) & (y <= bottom))

    def shades(self, points: Floats, light: Floats) -> Ints:
        """Indices of those `points[n, 3]` from which a ray along the unit vector `light` meets the ball."""
        off = points - self.centre
        along = off @ light
        beside = np.einsum("ij,ij->i", off, off) - along * along
        return np.flatnonzero((beside < self.radius**2) & (along < self.radius))


@dataclass(frozen=True)
class Solid:
    """A part in the camera's frame. `owner`: number of its object from 1, 0 for floor and walls."""

    part: Part
    owner: int
    to_shape: Affine
    to_object: Affine
    bounds: Bounds


@dataclass(frozen=True)
class World:
    """Everything that rays can meet, and for each object (floor and wall count as one each) the indices of its solids
    and bounds that hold them all: most rays pass an object by, so that its many parts need not be tried."""

    solids: tuple[Solid, ...]
    objects: tuple[tuple[range, Bounds], ...]


EVERYWHERE = (-np.inf, np.inf, -np.inf, np.inf)


@dataclass(frozen=True)
class Hits:
    """What n rays met. depth: float64[n], inf for nothing; normals: float64[n, 3] unit, towards the ray's origin;
    points: float64[n, 3]; solid: index of what was met, -1 for nothing."""

    depth: Floats
    normals: Floats
    points: Floats
    solid: Ints

    def by_solid(self) -> Iterator[tuple[int, Ints]]:
        """Every solid that was met, and the indices of the rays that met it."""
        order = np.argsort(self.solid, kind="stable")
        kinds, starts = np.unique(self.solid[order], return_index=True)
        ends = np.append(starts, len(order))[1:]
        for kind, start, end in zip(kinds.tolist(), starts, ends, strict=True):
            if kind >= 0:
                yield kind, order[start:end]


def make_world(stage: Stage) -> World:
    """All of a stage."""
    solids: list[Solid] = []
    objects: list[tuple[range, Bounds]] = []
    frames: list[tuple[tuple[Part, ...], Affine, int]] = [((part,), frame, 0) for part, frame in stage.surfaces]
    frames += [(each.thing.parts, each.to_camera, number) for number, each in enumerate(stage.things, start=1)]
    for parts, frame, owner in frames:
        start = len(solids)
        corners = [_corners(part, frame) for part in parts]
        solids += [
            Solid(part, owner, (frame @ part.place).inverse(), frame.inverse(), _bounds(around))
            for part, around in zip(parts, corners, strict=True)
        ]
        objects.append((range(start, len(solids)), _bounds(np.concatenate(corners))))
    return World(tuple(solids), tuple(objects))


def _corners(part: Part, frame: Affine) -> Floats:
    """float64[8, 3] of a box that holds a part, in the camera's frame; inf for what has no end."""
    if not np.isfinite(part.shape.extent).all():
        return np.full((8, 3), np.inf)
    return frame.points(part.corners())


def _bounds(corners: Floats) -> Bounds:
    """Around points float64[n, 3]; infinite ones have no bounds."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    if np.isinf(high[0]):
        return Bounds(np.zeros(3), np.inf, EVERYWHERE)
    centre = (low + high) / 2
    radius = float(np.sqrt(((corners - centre) ** 2).sum(axis=1).max()))
    window = EVERYWHERE
    if low[2] > NEAREST_WINDOW:
        flat = corners[:, :2] / corners[:, 2:]
        (left, top), (right, bottom) = flat.min(axis=0).tolist(), flat.max(axis=0).tolist()
        window = (left, right, top, bottom)
    return Bounds(centre, radius, window)


def cast(directions: Floats, world: World) -> Hits:
    """What rays from the camera along `directions[n, 3]` meet first."""
    n = len(directions)
    depth, solid = np.full(n, np.inf), np.full(n, -1)
    for members, bounds in world.objects:
        rays = bounds.seen_along(directions)
        there = directions[rays]
        for number in members:
            each = world.solids[number]
            seen = each.bounds.seen_along(there) if len(members) > 1 else np.arange(len(rays))
            if not len(seen):
                continue
            t = each.part.shape.hit(each.to_shape.offset[None], there[seen] @ each.to_shape.matrix.T)
            at = rays[seen]
            nearer = (t < depth[at]) & (t < FARTHEST)
            depth[at[nearer]], solid[at[nearer]] = t[nearer], number
    points = np.where(np.isfinite(depth), depth, 0)[:, None] * directions
    hits = Hits(depth, np.zeros_like(points), points, solid)
    _fill_normals(hits, directions, world)
    return hits


def _fill_normals(hits: Hits, directions: Floats, world: World) -> None:
    for number, rays in hits.by_solid():
        each = world.solids[number]
        found = each.part.shape.normals(each.to_shape.points(hits.points[rays])) @ each.to_shape.matrix
        found /= np.maximum(np.sqrt((found * found).sum(axis=1)), 1e-12)[:, None]
        away = (found * directions[rays]).sum(axis=1) > 0
        found[away] *= -1
        hits.normals[rays] = found


def lit(hits: Hits, light: Floats, world: World) -> npt.NDArray[np.bool_]:
    """bool[n]: whether nothing stands between a point and the distant light in the unit direction `light[3]`."""
    clear = np.isfinite(hits.depth) & (hits.normals @ light > 0)
    active = np.flatnonzero(clear)
    points = hits.points[active] + hits.normals[active] * (LIFT * hits.depth[active, None])
    blocked = np.zeros(len(active), dtype=bool)
    for members, bounds in world.objects:
        if not np.isfinite(bounds.radius):
            continue  # floor and wall are lit from their front and stand behind everything
        close = bounds.shades(points, light)
        for number in members:
            each = world.solids[number]
            left = close[~blocked[close]]
            near = left[each.bounds.shades(points[left], light)]
            if len(near):
                towards = np.broadcast_to(each.to_shape.matrix @ light, (len(near), 3))
                blocked[near] |= np.isfinite(each.part.shape.hit(each.to_shape.points(points[near]), towards))
    clear[active[blocked]] = False
    return clear
