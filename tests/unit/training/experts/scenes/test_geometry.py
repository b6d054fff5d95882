"""Rays against shapes: every hit is held against what the shape says of points inside and outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from training.experts.scenes.geometry import (
    Affine,
    Floats,
    Frustum,
    Plane,
    Shape,
    Sphere,
    Torus,
    box,
    place,
    prism,
    pyramid,
    rotation,
)

pytestmark = pytest.mark.torch


def _in_frustum(top: float) -> Callable[[Floats], Floats]:
    def outside(p: Floats) -> Floats:
        radius = (1 + top) / 2 + (top - 1) / 2 * p[:, 2]
        return np.asarray(np.maximum(np.hypot(p[:, 0], p[:, 1]) - radius, np.abs(p[:, 2]) - 1))

    return outside


def _in_ring(p: Floats) -> Floats:
    return np.asarray(np.hypot(np.hypot(p[:, 0], p[:, 1]) - 1, p[:, 2]) - 0.3)


def _in_prism(p: Floats) -> Floats:
    outside: Floats = np.maximum.reduce([np.abs(p[:, 0]) - 1, np.abs(p[:, 1]) - (1 - p[:, 2]) / 2, -1 - p[:, 2]])
    return outside


def _in_pyramid(p: Floats) -> Floats:
    half = (1 - p[:, 2]) / 2
    outside: Floats = np.maximum.reduce([np.abs(p[:, 0]) - half, np.abs(p[:, 1]) - half, -1 - p[:, 2]])
    return outside


SHAPES: dict[str, tuple[Shape, Callable[[Floats], Floats]]] = {
    "sphere": (Sphere(), lambda p: np.asarray(np.linalg.norm(p, axis=1) - 1)),
    "cylinder": (Frustum(), _in_frustum(1.0)),
    "cone": (Frustum(0.0), _in_frustum(0.0)),
    "shade": (Frustum(0.5), _in_frustum(0.5)),
    "funnel": (Frustum(1.6), _in_frustum(1.6)),
    "box": (box(), lambda p: np.abs(p).max(axis=1) - 1),
    "prism": (prism(), _in_prism),
    "pyramid": (pyramid(), _in_pyramid),
    "ring": (Torus(0.3), _in_ring),
}
"""A shape, and a function that is negative inside it and positive outside."""


def _rays(count: int = 400) -> tuple[Floats, Floats]:
    """Rays from a ball of radius 4 towards places near the origin, directions of random length."""
    rng = np.random.default_rng(1)
    origins = rng.standard_normal((count, 3))
    origins *= 4 / np.linalg.norm(origins, axis=1)[:, None]
    towards = rng.uniform(-1.3, 1.3, (count, 3)) - origins
    return origins, towards * rng.uniform(0.2, 3, (count, 1))


@pytest.mark.parametrize("name", SHAPES)
def test_a_hit_lies_on_the_surface_and_nothing_lies_before_it(name: str) -> None:
    shape, outside = SHAPES[name]
    origins, directions = _rays()
    t = shape.hit(origins, directions)
    hit = np.isfinite(t)
    assert 0.2 < hit.mean() < 1
    points = origins[hit] + t[hit, None] * directions[hit]
    assert np.abs(outside(points)).max() < 1e-4
    last = np.where(hit, t, 8 / np.linalg.norm(directions, axis=1))
    for share in np.linspace(0, 0.999, 300):
        assert (outside(origins + (share * last)[:, None] * directions) > -1e-3).all()


@pytest.mark.parametrize("name", SHAPES)
def test_normals_point_outwards_at_a_right_angle_to_the_surface(name: str) -> None:
    shape, outside = SHAPES[name]
    origins, directions = _rays()
    t = shape.hit(origins, directions)
    hit = np.isfinite(t)
    points = origins[hit] + t[hit, None] * directions[hit]
    normals = shape.normals(points)
    normals = normals / np.linalg.norm(normals, axis=1)[:, None]
    steps = 1e-5 * np.eye(3)
    slope = np.stack([outside(points + step) - outside(points - step) for step in steps], axis=1)
    slope /= np.linalg.norm(slope, axis=1)[:, None]
    agree = (normals * slope).sum(axis=1)
    assert (agree > 0.9999).mean() > 0.98  # a few points lie on an edge, where the slope is that of either side


@pytest.mark.parametrize("name", SHAPES)
def test_the_extent_holds_the_shape(name: str) -> None:
    shape, outside = SHAPES[name]
    points = np.random.default_rng(2).uniform(-2, 2, (20_000, 3))
    inside = points[outside(points) < 0]
    assert (np.abs(inside) <= shape.extent).all()
    assert (np.abs(inside).max(axis=0) > 0.85 * shape.extent).all()


@pytest.mark.parametrize("name", SHAPES)
def test_rays_that_leave_the_surface_do_not_meet_it_again_at_their_start(name: str) -> None:
    shape, _ = SHAPES[name]
    origins, directions = _rays()
    t = shape.hit(origins, directions)
    hit = np.isfinite(t)
    points = origins[hit] + t[hit, None] * directions[hit]
    normals = shape.normals(points)
    away = shape.hit(points + 1e-3 * normals, normals)
    assert (~np.isfinite(away) | (away > 0.1)).mean() > 0.98


def test_one_origin_serves_all_rays() -> None:
    _, directions = _rays(50)
    origin = np.array([[0.0, 0.0, -5.0]])
    for shape, _ in SHAPES.values():
        alone = shape.hit(origin, directions)
        assert np.array_equal(alone, shape.hit(np.repeat(origin, 50, axis=0), directions))


def test_a_ball_is_met_where_the_formula_says() -> None:
    t = Sphere().hit(np.array([[0.0, 0.0, -3.0]]), np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [0.0, 0.0, -1.0]]))
    assert t.tolist() == [2.0, 1.0, np.inf]


def test_a_plane_is_seen_from_above_only() -> None:
    down, up = np.array([[0.0, 1.0, -0.5]]), np.array([[0.0, 1.0, 0.5]])
    above, below = np.array([[0.0, 0.0, 2.0]]), np.array([[0.0, 0.0, -2.0]])
    assert Plane().hit(above, down).tolist() == [4.0]
    assert np.isinf(Plane().hit(above, up)).all()
    assert np.isinf(Plane().hit(below, up)).all()


def test_an_affine_map_and_its_inverse_cancel() -> None:
    move = place((1, 2, 3), (0.5, 2, 3), rotation(0, 0.4) @ rotation(2, 1.1))
    points = np.random.default_rng(3).standard_normal((10, 3))
    assert np.allclose((move.inverse() @ move).points(points), points)
    assert np.allclose(move.inverse().points(move.points(points)), points)


def test_turns_go_counter_clockwise() -> None:
    quarter = [rotation(axis, np.pi / 2) for axis in range(3)]
    assert np.allclose(quarter[2] @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(quarter[0] @ [0, 1, 0], [0, 0, 1])
    assert np.allclose(quarter[1] @ [0, 0, 1], [1, 0, 0])
    assert isinstance(place(turn=quarter[0]), Affine)
