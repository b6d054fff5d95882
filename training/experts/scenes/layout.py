"""What a scene holds before anything is drawn: the camera, the light, what stands where and what is behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from training.experts.scenes.geometry import Affine, Floats, Plane, place, rotation
from training.experts.scenes.materials import Material, Pattern, Rgb, bricks, plain, wood
from training.experts.scenes.parts import Part, Thing
from training.experts.scenes.things import CLASSES, make_thing

MOST_OBJECTS = 6
TURN = 2 * np.pi
CAMERA_AXES = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
"""From a world whose z is up to a level camera that looks along the world's y: x right, y down, z forward."""


class Backdrop(StrEnum):
    """What is behind the objects."""

    GROUND = "ground"  # a ground plane and the sky
    ROOM = "room"  # a floor and a wall
    PHOTOGRAPH = "photograph"  # a picture of the caller's; objects hang before it


@dataclass(frozen=True)
class Light:
    """A distant light. `direction`: float64[3] towards it, unit, in the camera's frame."""

    direction: Floats
    colour: Rgb
    ambient: Rgb


@dataclass(frozen=True)
class Placed:
    """A thing and the transform from its frame to the camera's."""

    thing: Thing
    to_camera: Affine


@dataclass(frozen=True)
class Stage:
    """A whole scene in the camera's frame. `focal`: in units of the picture's shorter side. `surfaces`: floor and wall,
    which belong to no class. `place_name`, `sky_name`: for captions ("on grass", "under a blue sky"), empty where there
    is none. `sky`: colours at the horizon and above."""

    backdrop: Backdrop
    place_name: str
    sky_name: str
    focal: float
    light: Light
    things: tuple[Placed, ...]
    surfaces: tuple[tuple[Part, Affine], ...]
    sky: tuple[Rgb, Rgb]
    up: Floats


def _sky(rng: np.random.Generator) -> tuple[str, Rgb, Rgb]:
    """Name, colour at the horizon, colour above."""
    skies: list[tuple[str, Rgb, Rgb]] = [
        ("a blue sky", (0.78, 0.87, 0.95), (0.28, 0.50, 0.85)),
        ("a grey sky", (0.80, 0.81, 0.83), (0.55, 0.58, 0.62)),
        ("an evening sky", (0.98, 0.72, 0.45), (0.42, 0.36, 0.60)),
        ("a dark sky", (0.28, 0.30, 0.42), (0.05, 0.06, 0.14)),
    ]
    return skies[int(rng.choice(len(skies), p=[0.45, 0.25, 0.18, 0.12]))]


def _ground(rng: np.random.Generator) -> tuple[str, Material]:
    period = float(rng.uniform(0.4, 1.0))
    grounds = [
        ("grass", Material(Pattern.SPECKLES, (0.20, 0.40, 0.12), (0.36, 0.56, 0.20), period)),
        ("sand", Material(Pattern.SPECKLES, (0.80, 0.70, 0.50), (0.88, 0.79, 0.60), period)),
        ("snow", Material(Pattern.SPECKLES, (0.86, 0.88, 0.93), (0.95, 0.96, 0.98), 2 * period)),
        ("a grey road", Material(Pattern.SPECKLES, (0.30, 0.30, 0.32), (0.44, 0.44, 0.45), 0.5 * period)),
        ("a stone floor", Material(Pattern.MARBLE, (0.62, 0.60, 0.57), (0.44, 0.42, 0.40), 2 * period)),
        ("bare earth", Material(Pattern.SPECKLES, (0.34, 0.24, 0.16), (0.46, 0.34, 0.23), period)),
    ]
    return grounds[int(rng.integers(len(grounds)))]


def _floor(rng: np.random.Generator) -> tuple[str, Material]:
    tone = float(rng.uniform(0.3, 0.9))
    floors = [
        ("a wooden floor", wood(rng)),
        (
            "a tiled floor",
            Material(Pattern.CHECKS, (tone, tone, tone), (0.85, 0.83, 0.78), float(rng.uniform(0.5, 0.9))),
        ),
        ("a red carpet", Material(Pattern.CHECKS, (0.6, 0.2, 0.2), (0.75, 0.6, 0.45), float(rng.uniform(0.2, 0.4)))),
        ("a grey floor", plain("grey", rng, 0)),
    ]
    return floors[int(rng.integers(len(floors)))]


def _wall(rng: np.random.Generator) -> Material:
    if rng.random() < 0.25:
        return replace(bricks(rng), period=1.0)
    tone = rng.uniform(0.45, 0.95, 3)
    paint = 0.6 * tone.mean() + 0.4 * tone
    colour = (float(paint[0]), float(paint[1]), float(paint[2]))
    return Material(Pattern.PLAIN, colour, colour)


def _draw_light(rng: np.random.Generator, turn: Floats, *, dark: bool) -> Light:
    """A light from above (in the world), warm or cold; `turn` takes the world's axes to the camera's."""
    height, around = rng.uniform(0.35, 1.2), rng.uniform(0, 2 * np.pi)
    world = np.array([np.cos(height) * np.cos(around), np.cos(height) * np.sin(around), np.sin(height)])
    warm, power = rng.uniform(-0.1, 0.1), rng.uniform(0.45, 0.75) * (0.7 if dark else 1.0)
    dim = rng.uniform(0.3, 0.5) * (0.7 if dark else 1.0)
    direct = (float(power * (1 + warm)), float(power), float(power * (1 - warm)))
    return Light(turn @ world, direct, (float(dim * (1 - warm / 2)), float(dim), float(dim * (1 + warm / 2))))


def _draw_names(rng: np.random.Generator) -> list[str]:
    count = int(rng.choice(np.arange(1, MOST_OBJECTS + 1), p=[0.12, 0.24, 0.26, 0.2, 0.12, 0.06]))
    return [str(name) for name in rng.choice(CLASSES[1:], count)]


def draw_stage(rng: np.random.Generator, aspect: float, *, photograph: bool) -> Stage:
    """A random scene for a picture `aspect` times as wide as high."""
    focal = 0.5 / np.tan(rng.uniform(np.radians(32), np.radians(62)) / 2)
    names = _draw_names(rng)
    if photograph:
        return _before_a_photograph(rng, names, focal, aspect)
    return _on_the_ground(rng, names, focal, aspect)


def _half_view(focal: float, aspect: float) -> tuple[float, float]:
    """Tangents of half the horizontal and half the vertical field of view; `focal` is of the shorter side."""
    return 0.5 * max(aspect, 1.0) / focal, 0.5 * max(1 / aspect, 1.0) / focal


def _before_a_photograph(rng: np.random.Generator, names: list[str], focal: float, aspect: float) -> Stage:
    turn = CAMERA_AXES
    wide, high = _half_view(focal, aspect)
    things = tuple(_hang(rng, names, (wide, high), turn))
    light = _draw_light(rng, turn, dark=False)
    white = (1.0, 1.0, 1.0)
    return Stage(Backdrop.PHOTOGRAPH, "", "", focal, light, things, (), (white, white), turn @ [0, 0, 1.0])


def _hang(rng: np.random.Generator, names: list[str], view: tuple[float, float], turn: Floats) -> Iterator[Placed]:
    """Objects in the air, tilted, none inside another. What finds no room is left out. `view`: `_half_view`."""
    taken: list[tuple[Floats, float]] = []
    for name in names:
        thing = make_thing(name, rng)
        tilt = rotation(0, rng.normal(0.25, 0.35)) @ rotation(1, rng.normal(0, 0.3)) @ rotation(2, rng.uniform(0, TURN))
        for _ in range(20):
            depth = rng.uniform(2.5, 9.0)
            share = rng.uniform(-0.78, 0.78, 2)
            at = np.array([share[0] * view[0] * depth, share[1] * view[1] * depth, depth])
            size = float(rng.uniform(0.7, 1.5) * np.sqrt(depth / 4))
            reach = size * float(np.hypot(thing.reach, thing.height / 2))
            if all(np.linalg.norm(at - other) > reach + far for other, far in taken):
                taken.append((at, reach))
                hung = Affine(size * turn @ tilt, at) @ place((0, 0, -thing.height / 2))
                yield Placed(thing, hung)
                break


def _on_the_ground(rng: np.random.Generator, names: list[str], focal: float, aspect: float) -> Stage:
    wide, high = _half_view(focal, aspect)
    pitch, roll = rng.uniform(np.radians(6), np.radians(42)), rng.normal(0, np.radians(2))
    level = rng.uniform(0.9, 2.6) + 2.0 * np.sin(pitch)
    turn = rotation(2, roll) @ rotation(0, pitch) @ CAMERA_AXES
    to_camera = Affine(turn, turn @ np.array([0, 0, -level]))
    things = []
    for thing, x, y, size in _stand(rng, names, (pitch, level, wide, high)):
        spin = rotation(2, rng.uniform(0, TURN))
        things.append(Placed(thing, to_camera @ place((x, y, 0), size, spin)))
    indoors = rng.random() < 0.45
    sky, horizon, above = _sky(rng)
    name, material = _floor(rng) if indoors else _ground(rng)
    surfaces = [(Part(Plane(), place(), material), to_camera)]
    if indoors:
        far = rng.uniform(8.5, 14)
        upright = Part(Plane(), place(turn=rotation(0, np.pi / 2)), _wall(rng))
        surfaces.append((upright, to_camera @ place((0, far, 0), 1.0, rotation(2, rng.normal(0, 0.25)))))
    light = _draw_light(rng, turn, dark=not indoors and sky == "a dark sky")
    over = "" if indoors else f"under {sky}"
    backdrop = Backdrop.ROOM if indoors else Backdrop.GROUND
    return Stage(
        backdrop, f"on {name}", over, focal, light, tuple(things), tuple(surfaces), (horizon, above), turn @ [0, 0, 1.0]
    )


def _stand(
    rng: np.random.Generator, names: list[str], view: tuple[float, float, float, float]
) -> Iterator[tuple[Thing, float, float, float]]:
    """Objects with their place on the ground and size: in view and not inside each other. What finds no room is left
    out; the first one always does. `view`: the camera's pitch and height, and `_half_view`."""
    pitch, level, wide, high = view
    taken: list[tuple[float, float, float]] = []
    for name in names:
        thing = make_thing(name, rng)
        size = float(rng.uniform(0.7, 1.5))
        reach = thing.reach * size
        for _ in range(20):
            down = pitch + np.arctan(rng.uniform(-0.85, 0.9) * high)
            far = level / np.tan(max(down, 0.03))
            if not 2.0 < far < 8.0:
                far = rng.uniform(2.5, 8.0)
            x = rng.uniform(-0.85, 0.85) * wide * np.hypot(far, level)
            if all(np.hypot(x - u, far - v) > reach + r for u, v, r in taken):
                taken.append((x, far, reach))
                yield thing, float(x), float(far), size
                break
