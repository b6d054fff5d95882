"""Colours and patterns of surfaces: solid textures, so that a pattern needs no unwrapping of any shape."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from training.experts.scenes.geometry import Floats

DOT_RADIUS = 0.38  # of spots, in periods
_LATTICE_SIZE = 32
_LATTICE = np.random.default_rng(32).uniform(0, 1, (_LATTICE_SIZE,) * 3)

Rgb = tuple[float, float, float]

COLOURS: dict[str, Rgb] = {
    "red": (0.80, 0.12, 0.10),
    "orange": (0.93, 0.48, 0.08),
    "yellow": (0.94, 0.83, 0.16),
    "green": (0.18, 0.58, 0.20),
    "turquoise": (0.14, 0.66, 0.66),
    "blue": (0.14, 0.28, 0.78),
    "purple": (0.46, 0.16, 0.62),
    "pink": (0.94, 0.52, 0.66),
    "brown": (0.42, 0.25, 0.13),
    "white": (0.92, 0.92, 0.90),
    "grey": (0.50, 0.50, 0.52),
    "black": (0.08, 0.08, 0.09),
}


class Pattern(StrEnum):
    """What a surface shows; `WORDS` says how a caption calls it."""

    PLAIN = "plain"
    STRIPES = "stripes"
    CHECKS = "checks"
    DOTS = "dots"
    WOOD = "wood"
    MARBLE = "marble"
    BRICKS = "bricks"
    SPECKLES = "speckles"


WORDS = {
    Pattern.STRIPES: "striped",
    Pattern.CHECKS: "checkered",
    Pattern.DOTS: "spotted",
    Pattern.WOOD: "wooden",
    Pattern.MARBLE: "marble",
    Pattern.BRICKS: "brick",
    Pattern.SPECKLES: "speckled",
}


@dataclass(frozen=True)
class Material:
    """A pattern of two colours. `period`: length of one repeat in the object's own units; `phase` moves the pattern."""

    pattern: Pattern
    colour: Rgb
    second: Rgb
    period: float = 0.3
    gloss: float = 0.0
    phase: tuple[float, float, float] = (0.0, 0.0, 0.0)
    name: str = ""

    def colours(self, points: Floats) -> Floats:
        """float64[n, 3] in 0…1 at `points[n, 3]` of the object's frame."""
        share = _PATTERNS[self.pattern](points / self.period + np.array(self.phase))
        first, second = np.array(self.colour), np.array(self.second)
        mixed: Floats = first + share[:, None] * (second - first)
        return mixed


def _waves(points: Floats) -> Floats:
    """Smooth noise about -1…1: waves of three octaves in directions that share no period."""
    x, y, z = points.T
    low = np.sin(1.3 * x + 0.7 * y + 1.1 * z) + np.sin(-0.9 * x + 1.6 * y - 0.5 * z)
    high = np.sin(2.9 * x - 2.1 * y + 3.3 * z + low) + np.sin(5.3 * x + 4.7 * y - 4.1 * z + 2 * low)
    noise: Floats = (2 * low + high) / 6
    return noise


def _plain(points: Floats) -> Floats:
    return np.zeros(len(points))


def _stripes(points: Floats) -> Floats:
    return np.asarray(np.floor(2 * points[:, 2]) % 2, dtype=np.float64)


def _checks(points: Floats) -> Floats:
    return np.asarray(np.floor(points + 1e-7).sum(axis=1) % 2, dtype=np.float64)


def _dots(points: Floats) -> Floats:
    inside = points - np.floor(points) - 0.5
    return np.asarray((inside**2).sum(axis=1) < DOT_RADIUS**2, dtype=np.float64)


def _wood(points: Floats) -> Floats:
    rings = 4 * np.hypot(points[:, 0] - 0.4, points[:, 1] + 0.3) + 0.8 * _waves(0.8 * points)
    grain = rings - np.floor(rings)
    share: Floats = 0.75 * grain**2 + 0.25 * (0.5 + 0.5 * np.sin(23 * points[:, 0] + 19 * points[:, 1]))
    return share


def _marble(points: Floats) -> Floats:
    veins: Floats = np.abs(np.sin(2 * points[:, 0] + points[:, 2] + 3 * _waves(1.5 * points))) ** 3
    return veins


def _bricks(points: Floats) -> Floats:
    along, up = points[:, 0] + points[:, 1], 2 * points[:, 2]
    row = np.floor(up)
    along = along + 0.5 * (row % 2)
    mortar = (up - row < 0.14) | (along - np.floor(along) < 0.07)
    return np.where(mortar, 1.0, 0.25 * (0.5 + 0.5 * np.sin(12.9 * np.floor(along) + 78.2 * row)))


def _lattice_noise(points: Floats) -> Floats:
    """Smooth noise in 0…1: random values at whole coordinates, repeated after 32, and blends of eight in between."""
    cell = np.floor(points).astype(np.int64)
    inside = points - cell
    low, high = cell % _LATTICE_SIZE, (cell + 1) % _LATTICE_SIZE
    x, y, z = (inside * inside * (3 - 2 * inside)).T
    below, above = (
        (1 - y) * ((1 - x) * _LATTICE[low[:, 0], low[:, 1], level] + x * _LATTICE[high[:, 0], low[:, 1], level])
        + y * ((1 - x) * _LATTICE[low[:, 0], high[:, 1], level] + x * _LATTICE[high[:, 0], high[:, 1], level])
        for level in (low[:, 2], high[:, 2])
    )
    blend: Floats = (1 - z) * below + z * above
    return blend


def _speckles(points: Floats) -> Floats:
    return 0.6 * _lattice_noise(5.3 * points) + 0.4 * _lattice_noise(1.7 * points)


_PATTERNS = {
    Pattern.PLAIN: _plain,
    Pattern.STRIPES: _stripes,
    Pattern.CHECKS: _checks,
    Pattern.DOTS: _dots,
    Pattern.WOOD: _wood,
    Pattern.MARBLE: _marble,
    Pattern.BRICKS: _bricks,
    Pattern.SPECKLES: _speckles,
}


def _phase(rng: np.random.Generator) -> tuple[float, float, float]:
    x, y, z = rng.uniform(0, 1, 3)
    return float(x), float(y), float(z)


def _shade(colour: Rgb, factor: float) -> Rgb:
    r, g, b = (min(1.0, channel * factor) for channel in colour)
    return r, g, b


def plain(colour: str, rng: np.random.Generator, gloss: float | None = None) -> Material:
    """One colour by name, a little lighter or darker than the table's, glossy or not."""
    tone = _shade(COLOURS[colour], rng.uniform(0.85, 1.1))
    shine = float(rng.choice([0.0, 0.0, 0.3, 0.7])) if gloss is None else gloss
    return Material(Pattern.PLAIN, tone, tone, gloss=shine, name=colour)


def wood(rng: np.random.Generator) -> Material:
    """Boards of one of three kinds of wood."""
    kinds: list[tuple[Rgb, Rgb]] = [
        ((0.72, 0.52, 0.30), (0.50, 0.32, 0.16)),
        ((0.50, 0.30, 0.15), (0.30, 0.17, 0.08)),
        ((0.85, 0.70, 0.48), (0.68, 0.50, 0.30)),
    ]
    light, dark = kinds[int(rng.integers(len(kinds)))]
    return Material(Pattern.WOOD, light, dark, float(rng.uniform(0.6, 1.0)), 0.1, _phase(rng), "wooden")


def bricks(rng: np.random.Generator) -> Material:
    """Red to brown bricks in light mortar."""
    tone = _shade((0.62, 0.27, 0.19), rng.uniform(0.7, 1.2))
    return Material(Pattern.BRICKS, tone, (0.75, 0.72, 0.68), float(rng.uniform(0.22, 0.34)), 0.0, _phase(rng), "brick")


def draw_material(rng: np.random.Generator) -> Material:
    """Any material that an object of one piece may have: half of them of one colour."""
    first, second = (str(name) for name in rng.choice(list(COLOURS), 2, replace=False))
    pattern = Pattern(str(rng.choice(list(Pattern)))) if rng.random() < 0.5 else Pattern.PLAIN
    if pattern is Pattern.PLAIN:
        return plain(first, rng)
    if pattern is Pattern.WOOD:
        return wood(rng)
    if pattern is Pattern.BRICKS:
        return bricks(rng)
    gloss = float(rng.choice([0.0, 0.4]))
    period = float(rng.uniform(0.25, 0.5))
    if pattern is Pattern.MARBLE:
        return Material(pattern, COLOURS["white"], COLOURS["grey"], period, 0.5, _phase(rng), "marble")
    return Material(pattern, COLOURS[first], COLOURS[second], period, gloss, _phase(rng), f"{WORDS[pattern]} {first}")
