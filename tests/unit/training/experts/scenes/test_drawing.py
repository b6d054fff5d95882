"""Drawn maps against stages whose depth and normals are known from a formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from training.experts.scenes.cast import cast, lit, make_world
from training.experts.scenes.geometry import Affine, Plane, Sphere, place, rotation
from training.experts.scenes.layout import CAMERA_AXES, Backdrop, Light, Placed, Stage
from training.experts.scenes.materials import Material, Pattern
from training.experts.scenes.parts import Part, Thing
from training.experts.scenes.render import draw, edges_of

pytestmark = pytest.mark.torch

SIZE = 65
FOCAL = 1.2
WHITE = Material(Pattern.PLAIN, (0.8, 0.8, 0.8), (0.8, 0.8, 0.8))
QUIET = np.zeros((SIZE, SIZE, 3))


def _stage(
    things: list[Placed], *, ground: float | None = None, light: tuple[float, float, float] = (0, -1, 0)
) -> Stage:
    """Objects before a level camera, on a ground `ground` below it if there is one."""
    level = Affine(CAMERA_AXES, CAMERA_AXES @ np.array([0, 0, -(ground or 0.0)]))
    surfaces = () if ground is None else ((Part(Plane(), place(), WHITE), level),)
    direction = np.array(light) / np.linalg.norm(light)
    lamp = Light(direction, (0.6, 0.6, 0.6), (0.2, 0.2, 0.2))
    sky = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.9))
    return Stage(Backdrop.ROOM, "", "", FOCAL, lamp, tuple(things), surfaces, sky, np.array([0.0, -1.0, 0.0]))


def _ball(x: float, y: float, z: float, radius: float) -> Placed:
    return Placed(Thing("ball", "", (Part(Sphere(), place(scale=radius), WHITE),)), place((x, y, z)))


def _rays() -> npt.NDArray[np.float64]:
    """float64[SIZE, SIZE, 3] through pixel centres, z = 1."""
    steps = (np.arange(SIZE) + 0.5 - SIZE / 2) / (FOCAL * SIZE)
    x, y = np.meshgrid(steps, steps)
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def test_depth_and_normals_of_a_ball_are_those_of_the_formula() -> None:
    centre, radius = np.array([0.3, -0.2, 4.0]), 1.1
    maps = draw(_stage([_ball(0.3, -0.2, 4.0, radius)]), SIZE, SIZE, None, QUIET)
    rays = _rays()
    a, b, c = (rays**2).sum(-1), rays @ centre, centre @ centre - radius**2
    root = b * b - a * c
    depth = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.nan)
    assert np.array_equal(np.isnan(depth), np.isnan(maps.depth))
    assert np.allclose(maps.depth, depth, rtol=1e-6, equal_nan=True)
    normals = (depth[..., None] * rays - centre) / radius
    assert np.allclose(maps.normals, normals, atol=1e-6, equal_nan=True)
    assert np.array_equal(maps.instances == 1, ~np.isnan(depth))


def test_depth_and_normals_of_the_ground_are_those_of_the_formula() -> None:
    maps = draw(_stage([], ground=1.5), SIZE, SIZE, None, QUIET)
    down = _rays()[..., 1]
    with np.errstate(divide="ignore"):
        depth = np.where(down > 1.5 / 100, 1.5 / down, np.nan)
    assert np.allclose(maps.depth, depth, rtol=1e-6, equal_nan=True)
    known = ~np.isnan(depth)
    assert np.allclose(maps.normals[known], [0, -1, 0])
    assert (maps.instances == 0).all()


def test_a_wall_straight_ahead_has_one_depth_and_looks_back() -> None:
    wall = Part(Plane(), place(turn=rotation(0, np.pi / 2)), WHITE)
    level = Affine(CAMERA_AXES, np.zeros(3))
    placed = Placed(Thing("box", "", (wall,)), level @ place((0, 5, 0)))
    maps = draw(_stage([placed]), SIZE, SIZE, None, QUIET)
    assert np.allclose(maps.depth, 5)
    assert np.allclose(maps.normals, [0, 0, -1])


def test_the_nearer_of_two_objects_hides_the_other() -> None:
    near_last = draw(_stage([_ball(0, 0, 6, 1), _ball(0, 0, 3, 0.4)]), SIZE, SIZE, None, QUIET)
    near_first = draw(_stage([_ball(0, 0, 3, 0.4), _ball(0, 0, 6, 1)]), SIZE, SIZE, None, QUIET)
    middle = SIZE // 2
    assert near_last.instances[middle, middle] == 2
    assert near_first.instances[middle, middle] == 1
    assert np.array_equal(near_last.depth, near_first.depth, equal_nan=True)


def test_a_ball_throws_its_shadow_on_the_ground_below_it() -> None:
    stage = _stage([_ball(0, 0.2, 5, 0.5)], ground=1.5, light=(0, -1, 0))
    world = make_world(stage)
    below, beside = np.array([0, 1.5, 5.0]) / 5, np.array([1.2, 1.5, 5.0]) / 5
    hits = cast(np.stack([below, beside]), world)
    assert np.allclose(hits.depth, 5)
    assert lit(hits, stage.light.direction, world).tolist() == [False, True]


def test_light_falls_on_the_side_that_faces_it() -> None:
    maps = draw(_stage([_ball(0, 0, 4, 1)], light=(-1, 0, 0)), SIZE, SIZE, None, QUIET)
    middle = SIZE // 2
    assert maps.image[middle, middle - 12].mean() > 2 * maps.image[middle, middle + 12].mean()


def test_edges_of_objects_are_smooth_and_their_labels_are_not() -> None:
    maps = draw(_stage([_ball(0, 0, 4, 1)], light=(0, 0, -1)), SIZE, SIZE, None, QUIET)
    sky = draw(_stage([], light=(0, 0, -1)), SIZE, SIZE, None, QUIET)
    mixed = (maps.instances == 0) & (maps.image != sky.image).any(axis=-1)
    assert 10 < mixed.sum() < 200
    assert set(np.unique(maps.instances)) == {0, 1}


def test_a_box_reaches_to_the_last_pixel_and_is_open_there() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    assert edges_of(mask) is None
    mask[2:4, 1:7] = True
    assert edges_of(mask) == (1, 2, 7, 4)
