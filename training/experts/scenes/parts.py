"""What objects are put together from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.experts.scenes.geometry import Affine, Floats, Frustum, Shape, Sphere, box, place
from training.experts.scenes.materials import Material

SIGNS = np.array(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0])).reshape(3, 8).T


@dataclass(frozen=True)
class Part:
    """A shape, where it lies in its object, and what it is made of."""

    shape: Shape
    place: Affine
    material: Material

    def corners(self) -> Floats:
        """float64[8, 3]: corners of a box in the object's frame that holds the part."""
        return self.place.points(SIGNS * self.shape.extent)


@dataclass(frozen=True)
class Thing:
    """One object. `looks`: what a caption may say of it ("red", "wooden"), may be empty."""

    name: str
    looks: str
    parts: tuple[Part, ...]

    @property
    def reach(self) -> float:
        """Radius of a circle around z that holds the object, in its own units."""
        corners = np.concatenate([part.corners() for part in self.parts])
        return float(np.hypot(corners[:, 0], corners[:, 1]).max())

    @property
    def height(self) -> float:
        return float(max(part.corners()[:, 2].max() for part in self.parts))


def block(size: tuple[float, float, float], middle: tuple[float, float, float], material: Material) -> Part:
    """A box of the sides `size`, its centre at `middle`."""
    x, y, z = size
    return Part(box(), place(middle, (x / 2, y / 2, z / 2)), material)


def pole(radius: float, low: float, high: float, material: Material, *, top: float = 1.0, x: float = 0.0) -> Part:
    """An upright frustum from z = `low` (its radius there) to `high` (`top` times as wide)."""
    return Part(Frustum(top), place((x, 0, (low + high) / 2), (radius, radius, (high - low) / 2)), material)


def globe(radius: float, middle: tuple[float, float, float], material: Material, flat: float = 1.0) -> Part:
    return Part(Sphere(), place(middle, (radius, radius, radius * flat)), material)
