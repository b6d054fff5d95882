"""The classes of objects that scenes show, each put together from a few shapes.

An object stands on z = 0 of its own frame, around the z axis, about one unit high. Proportions, materials and details
vary with the generator that is passed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.experts.scenes.geometry import Frustum, Sphere, Torus, place, prism, pyramid, rotation
from training.experts.scenes.materials import COLOURS, Material, Pattern, bricks, draw_material, plain, wood
from training.experts.scenes.parts import Part, Thing, block, globe, pole

Rng = np.random.Generator


def _colour(rng: Rng, *names: str) -> str:
    return str(rng.choice(names or tuple(COLOURS)))


def _ball(rng: Rng) -> Thing:
    look = draw_material(rng)
    return Thing("ball", look.name, (globe(0.5, (0, 0, 0.5), look),))


def _box(rng: Rng) -> Thing:
    look = draw_material(rng)
    x, y, z = rng.uniform(0.6, 1.1, 3)
    return Thing("box", look.name, (block((x, y, z), (0, 0, z / 2), look),))


def _cone(rng: Rng) -> Thing:
    look = draw_material(rng)
    return Thing("cone", look.name, (pole(rng.uniform(0.35, 0.55), 0, 1, look, top=0.0),))


def _cylinder(rng: Rng) -> Thing:
    look = draw_material(rng)
    return Thing("cylinder", look.name, (pole(rng.uniform(0.25, 0.5), 0, rng.uniform(0.6, 1.1), look),))


def _pyramid(rng: Rng) -> Thing:
    look = draw_material(rng)
    half = rng.uniform(0.45, 0.65)
    return Thing("pyramid", look.name, (Part(pyramid(), place((0, 0, 0.45), (half, half, 0.45)), look),))


def _ring(rng: Rng) -> Thing:
    look = draw_material(rng)
    tube, radius = rng.uniform(0.2, 0.4), 0.4
    upright = rng.random() < 0.5
    turn = rotation(0, np.pi / 2) if upright else None
    rise = radius * (1 + tube) if upright else radius * tube
    return Thing("ring", look.name, (Part(Torus(tube), place((0, 0, rise), radius, turn), look),))


def _table(rng: Rng) -> Thing:
    look = wood(rng) if rng.random() < 0.6 else plain(_colour(rng), rng)
    legs = look if rng.random() < 0.6 else plain(_colour(rng, "black", "grey", "white"), rng)
    x, y, z = rng.uniform(1.1, 1.6), rng.uniform(0.8, 1.1), rng.uniform(0.65, 0.85)
    top = (
        block((x, y, 0.09), (0, 0, z), look)
        if rng.random() < 0.7
        else Part(Frustum(), place((0, 0, z), (x / 2, y / 2, 0.045)), look)
    )
    foot = [(sx * 0.36 * x, sy * 0.34 * y, z / 2) for sx in (-1, 1) for sy in (-1, 1)]
    return Thing("table", look.name, (top, *(block((0.08, 0.08, z), at, legs) for at in foot)))


def _chair(rng: Rng) -> Thing:
    look = wood(rng) if rng.random() < 0.5 else plain(_colour(rng), rng)
    wide, seat, back = rng.uniform(0.45, 0.6), rng.uniform(0.42, 0.52), rng.uniform(0.95, 1.15)
    legs = [(sx * 0.43 * wide, sy * 0.43 * wide, seat / 2) for sx in (-1, 1) for sy in (-1, 1)]
    parts = [block((wide, wide, 0.07), (0, 0, seat), look)]
    parts += [block((0.06, 0.06, seat), at, look) for at in legs]
    parts.append(block((wide, 0.06, back - seat), (0, wide / 2 - 0.03, (back + seat) / 2), look))
    return Thing("chair", look.name, tuple(parts))


def _mug(rng: Rng) -> Thing:
    look = draw_material(rng)
    wide, high = rng.uniform(0.32, 0.42), rng.uniform(0.75, 1.0)
    drink = plain(_colour(rng, "brown", "black", "white"), rng, 0.5)
    handle = Part(Torus(0.22), place((wide, 0, high / 2), (0.26, 0.26, 0.26), rotation(0, np.pi / 2)), look)
    surface = pole(0.85 * wide, high - 0.01, high + 0.004, drink)
    return Thing("mug", look.name, (pole(wide, 0, high, look), handle, surface))


def _tree(rng: Rng) -> Thing:
    trunk = Material(Pattern.WOOD, (0.36, 0.24, 0.14), (0.22, 0.14, 0.08), 0.5)
    tone = rng.uniform(0.7, 1.15)
    leaves = Material(
        Pattern.SPECKLES, (0.10 * tone, 0.34 * tone, 0.10), (0.26 * tone, 0.58 * tone, 0.16), rng.uniform(0.25, 0.5)
    )
    stem = rng.uniform(0.25, 0.4)
    parts = [pole(0.08, 0, stem + 0.2, trunk, top=0.7)]
    if rng.random() < 0.5:
        wide = rng.uniform(0.3, 0.42)
        parts += [
            pole(wide * (1 - 0.22 * i), stem + 0.32 * i, stem + 0.32 * i + 0.5, leaves, top=0.0) for i in (0, 1, 2)
        ]
    else:
        spots = rng.uniform(-0.18, 0.18, (4, 3))
        parts += [
            globe(float(rng.uniform(0.22, 0.34)), (float(x), float(y), stem + 0.4 + float(z)), leaves)
            for x, y, z in spots
        ]
    return Thing("tree", "", tuple(parts))


def _house(rng: Rng) -> Thing:
    walls = (
        bricks(rng) if rng.random() < 0.5 else plain(_colour(rng, "white", "yellow", "pink", "blue", "grey"), rng, 0)
    )
    roof = plain(_colour(rng, "red", "brown", "black", "orange"), rng, 0)
    dark, door = plain("blue", rng, 0.7), plain(_colour(rng, "brown", "green", "white"), rng, 0)
    x, y, z = rng.uniform(0.8, 1.2), rng.uniform(0.7, 0.9), rng.uniform(0.5, 0.7)
    rise = rng.uniform(0.15, 0.3)
    parts = [
        block((x, y, z), (0, 0, z / 2), walls),
        Part(prism(), place((0, 0, z + rise), (0.56 * x, 0.58 * y, rise)), roof),
        block((0.18, 0.03, 0.34), (0, -y / 2, 0.17), door),
        block((0.15, 0.03, 0.15), (-0.3 * x, -y / 2, 0.6 * z), dark),
        block((0.15, 0.03, 0.15), (0.3 * x, -y / 2, 0.6 * z), dark),
        block((0.03, 0.18, 0.15), (x / 2, 0, 0.6 * z), dark),
    ]
    if rng.random() < 0.6:
        parts.append(block((0.11, 0.11, 0.3), (0.25 * x, 0.1, z + 1.6 * rise), bricks(rng)))
    return Thing("house", walls.name, tuple(parts))


def _lamp(rng: Rng) -> Thing:
    shade = plain(_colour(rng), rng, 0.0)
    metal = plain(_colour(rng, "black", "grey", "yellow", "brown"), rng, 0.7)
    foot, stem = rng.uniform(0.16, 0.26), rng.uniform(0.5, 0.7)
    parts = (
        pole(foot, 0, 0.05, metal, top=0.9),
        pole(0.03, 0.05, stem, metal),
        pole(rng.uniform(0.26, 0.36), stem, stem + rng.uniform(0.3, 0.42), shade, top=rng.uniform(0.4, 0.7)),
    )
    return Thing("lamp", shade.name, parts)


def _bottle(rng: Rng) -> Thing:
    glass = plain(_colour(rng, "green", "brown", "blue", "turquoise", "white", "red"), rng, 0.7)
    paper = plain(_colour(rng, "white", "yellow", "red", "black"), rng, 0.0)
    wide, body = rng.uniform(0.15, 0.2), rng.uniform(0.5, 0.62)
    parts = (
        pole(wide, 0, body, glass),
        pole(wide, body, body + 0.18, glass, top=0.35),
        pole(0.35 * wide, body + 0.18, body + 0.36, glass),
        pole(0.42 * wide, body + 0.34, body + 0.4, paper),
        pole(1.02 * wide, 0.3 * body, 0.75 * body, paper),
    )
    return Thing("bottle", glass.name, parts)


def _snowman(rng: Rng) -> Thing:
    snow = Material(Pattern.SPECKLES, (0.86, 0.88, 0.92), (0.97, 0.97, 0.98), 0.3)
    carrot, coal = plain("orange", rng, 0), plain("black", rng, 0.3)
    nose = Part(Frustum(0.0), place((0, -0.22, 0.95), (0.035, 0.035, 0.11), rotation(0, np.pi / 2)), carrot)
    eyes = [globe(0.025, (side * 0.06, -0.145, 1.0), coal) for side in (-1, 1)]
    buttons = [globe(0.03, (0, -0.225, z), coal) for z in (0.58, 0.68)]
    hat = [pole(0.2, 1.08, 1.11, coal), pole(0.13, 1.11, 1.3, coal)] if rng.random() < 0.7 else []
    body = [globe(r, (0, 0, z), snow) for r, z in ((0.34, 0.3), (0.24, 0.65), (0.17, 0.96))]
    return Thing("snowman", "", (*body, nose, *eyes, *buttons, *hat))


def _car(rng: Rng) -> Thing:
    paint, rubber = plain(_colour(rng), rng, 0.7), plain("black", rng, 0.0)
    glass = plain(_colour(rng, "black", "blue", "grey"), rng, 0.7)
    x, y, z = rng.uniform(1.3, 1.6), 0.62, rng.uniform(0.24, 0.32)
    wheel = rng.uniform(0.14, 0.18)
    turn = rotation(0, np.pi / 2)
    wheels = [
        Part(Frustum(), place((sx * 0.32 * x, sy * y / 2, wheel), (wheel, wheel, 0.06), turn), rubber)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    cabin, roof = 0.55 * x, wheel + z
    parts = [
        block((x, y, z), (0, 0, wheel + z / 2), paint),
        block((cabin, 0.86 * y, 0.24), (-0.06 * x, 0, roof + 0.12), glass),
        block((0.92 * cabin, 0.9 * y, 0.05), (-0.06 * x, 0, roof + 0.25), paint),
        *wheels,
    ]
    lights = plain("yellow", rng, 0.7)
    parts += [globe(0.06, (x / 2, side * 0.22, wheel + 0.6 * z), lights) for side in (-1, 1)]
    return Thing("car", paint.name, tuple(parts))


def _mushroom(rng: Rng) -> Thing:
    stem = plain("white", rng, 0)
    colour = _colour(rng, "red", "brown", "orange", "purple")
    cap = Material(
        Pattern.DOTS if rng.random() < 0.6 else Pattern.PLAIN, COLOURS[colour], COLOURS["white"], 0.22, 0.2, name=colour
    )
    wide, high = rng.uniform(0.4, 0.55), rng.uniform(0.45, 0.65)
    parts = (pole(0.17, 0, high, stem, top=0.75), globe(wide, (0, 0, high + 0.1), cap, rng.uniform(0.45, 0.7)))
    return Thing("mushroom", colour, parts)


def _candle(rng: Rng) -> Thing:
    wax = plain(_colour(rng), rng, 0.3)
    flame = Material(Pattern.PLAIN, (1.0, 0.80, 0.25), (1.0, 0.80, 0.25))
    wide, high = rng.uniform(0.12, 0.2), rng.uniform(0.6, 0.8)
    plate = plain(_colour(rng, "grey", "brown", "white"), rng, 0.5)
    parts = (
        pole(2.2 * wide, 0, 0.05, plate, top=1.15),
        pole(wide, 0.05, high, wax),
        Part(Sphere(), place((0, 0, high + 0.13), (0.06, 0.06, 0.12)), flame),
    )
    return Thing("candle", wax.name, parts)


def _rocket(rng: Rng) -> Thing:
    body, trim = (
        plain(_colour(rng, "white", "grey", "yellow"), rng, 0.3),
        plain(_colour(rng, "red", "blue", "green"), rng),
    )
    wide = rng.uniform(0.16, 0.22)
    fins = [
        Part(prism(), place((0, 0, 0.2), (0.02, 2.1 * wide, 0.2), rotation(2, angle)), trim) for angle in (0, np.pi / 2)
    ]
    window = Part(Sphere(), place((0, -wide * 0.9, 0.7), (0.07, 0.04, 0.07)), plain("blue", rng, 0.7))
    parts = [pole(wide, 0.1, 0.95, body), pole(wide, 0.95, 1.35, trim, top=0.0), window, *fins]
    return Thing("rocket", f"{body.name} and {trim.name}", tuple(parts))


def _bench(rng: Rng) -> Thing:
    look = wood(rng)
    legs = plain(_colour(rng, "black", "grey", "brown"), rng, 0.2)
    long, seat = rng.uniform(1.2, 1.7), 0.42
    parts = [block((long, 0.12, 0.05), (0, y, seat), look) for y in (-0.16, 0.0, 0.16)]
    parts += [block((long, 0.04, 0.11), (0, 0.24, z), look) for z in (0.6, 0.76)]
    parts += [block((0.07, 0.42, seat), (side * 0.42 * long, 0, seat / 2), legs) for side in (-1, 1)]
    parts += [block((0.07, 0.04, 0.5), (side * 0.42 * long, 0.21, 0.57), legs) for side in (-1, 1)]
    return Thing("bench", look.name, tuple(parts))


_BUILDERS: dict[str, Callable[[Rng], Thing]] = {
    "ball": _ball,
    "box": _box,
    "cone": _cone,
    "cylinder": _cylinder,
    "pyramid": _pyramid,
    "ring": _ring,
    "table": _table,
    "chair": _chair,
    "mug": _mug,
    "tree": _tree,
    "house": _house,
    "lamp": _lamp,
    "bottle": _bottle,
    "snowman": _snowman,
    "car": _car,
    "mushroom": _mushroom,
    "candle": _candle,
    "rocket": _rocket,
    "bench": _bench,
}

CLASSES: tuple[str, ...] = ("background", *_BUILDERS)
"""Names of the values of class maps; 0 is what belongs to no object, ground and walls included."""


def make_thing(name: str, rng: Rng) -> Thing:
    """A new object of the class `name`, one of `CLASSES[1:]`. Raises `KeyError` for any other."""
    return _BUILDERS[name](rng)
