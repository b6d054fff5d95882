"""Pictures and exact dense labels of a stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.experts.scenes.cast import Hits, Ints, World, cast, lit, make_world
from training.experts.scenes.geometry import Floats
from training.experts.scenes.layout import Backdrop, Stage

HAZE_DEPTH = 40.0
"""Depth by which ground out of doors has taken on 63 % of the horizon's colour."""

CORNERS = np.array([(-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)])
"""Where the rays of a pixel on an edge go, in pixels from its centre."""


@dataclass(frozen=True)
class Maps:
    """A drawn stage. image: uint8[h, w, 3]; instances: uint8[h, w], number of the object, 0 for none; depth:
    float32[h, w] and normals: float32[h, w, 3], nan where no surface is."""

    image: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """A stage and the picture to draw of it. `behind`: float64[h, w, 3] in 0…1, a photograph, or none."""

    stage: Stage
    world: World
    height: int
    width: int
    behind: Floats | None

    def directions(self, pixels: Floats) -> Floats:
        """float64[n, 3]: rays through `pixels[n, 2]` (x, y), z = 1."""
        focal = self.stage.focal * min(self.height, self.width)
        centred = (pixels - np.array([self.width / 2, self.height / 2])) / focal
        return np.concatenate([centred, np.ones((len(pixels), 1))], axis=1)


def draw(stage: Stage, height: int, width: int, photograph: npt.NDArray[np.uint8] | None, noise: Floats) -> Maps:
    """One ray through each pixel's centre for the labels; four more for the colours of pixels on edges.

    `noise`: float64[h, w, 3] in levels of 0…255, added to the colours of everything but a photograph.
    """
    world = make_world(stage)
    view = View(stage, world, height, width, None if photograph is None else _cover(photograph, height, width))
    pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1).reshape(-1, 2)
    hits = cast(view.directions(pixels), world)
    colours = _colours(view, hits, pixels)
    edge = np.flatnonzero(_edges(hits, height, width))
    around = (pixels[edge, None] + CORNERS).reshape(-1, 2)
    fine = _colours(view, cast(view.directions(around), world), around)
    colours[edge] = fine.reshape(len(edge), len(CORNERS), 3).mean(axis=1)
    hit = hits.solid >= 0
    grain = noise.reshape(-1, 3) * (1 if photograph is None else hit[:, None])
    image = np.clip(np.rint(255 * np.clip(colours, 0, 1) + grain), 0, 255).astype(np.uint8)
    owners = np.array([*(each.owner for each in world.solids), 0])
    return Maps(
        image.reshape(height, width, 3),
        owners[hits.solid].astype(np.uint8).reshape(height, width),
        np.where(hit, hits.depth, np.nan).astype(np.float32).reshape(height, width),
        np.where(hit[:, None], hits.normals, np.nan).astype(np.float32).reshape(height, width, 3),
    )


def _cover(photograph: npt.NDArray[np.uint8], height: int, width: int) -> Floats:
    """The photograph cut to the picture's shape around its middle and resized: float64[h, w, 3] in 0…1."""
    rows, columns = photograph.shape[:2]
    scale = min(rows / height, columns / width)
    wide, high = scale * width, scale * height
    left, top = (columns - wide) / 2, (rows - high) / 2
    cut = Image.fromarray(photograph).resize(
        (width, height), Image.Resampling.BICUBIC, box=(left, top, left + wide, top + high)
    )
    return np.asarray(cut, dtype=np.float64) / 255


def _edges(hits: Hits, height: int, width: int) -> npt.NDArray[np.bool_]:
    """bool[h * w]: pixels beside another solid, or where a surface bends sharply."""
    solid, normals = hits.solid.reshape(height, width), hits.normals.reshape(height, width, 3)
    edge = np.zeros((height, width), dtype=bool)
    down = (solid[1:] != solid[:-1]) | ((normals[1:] * normals[:-1]).sum(axis=-1) < 0.7) & (solid[1:] >= 0)
    across = (solid[:, 1:] != solid[:, :-1]) | ((normals[:, 1:] * normals[:, :-1]).sum(axis=-1) < 0.7) & (
        solid[:, 1:] >= 0
    )
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    return edge.reshape(-1)


def _colours(view: View, hits: Hits, pixels: Floats) -> Floats:
    """float64[n, 3] in about 0…1: what rays through `pixels[n, 2]` see."""
    if view.behind is not None:
        x, y = pixels.astype(np.int64).T
        colours = view.behind[y, x]
    else:
        colours = _sky(view.stage, view.directions(pixels))
    met = hits.solid >= 0
    surface = _shade(view.stage, hits, view.world, _albedo(hits, view.world))
    if view.stage.backdrop is Backdrop.GROUND:
        clear = np.exp(-np.where(met, hits.depth, 0) / HAZE_DEPTH)[:, None]
        surface = clear * surface + (1 - clear) * np.array(view.stage.sky[0])
    return np.where(met[:, None], surface, colours)


def _sky(stage: Stage, directions: Floats) -> Floats:
    rise = directions @ stage.up / np.linalg.norm(directions, axis=1)
    share = np.clip(rise / 0.5, 0, 1)[:, None] ** 0.7
    blend: Floats = (1 - share) * np.array(stage.sky[0]) + share * np.array(stage.sky[1])
    return blend


def _albedo(hits: Hits, world: World) -> Floats:
    albedo = np.zeros_like(hits.points)
    for number, rays in hits.by_solid():
        each = world.solids[number]
        albedo[rays] = each.part.material.colours(each.to_object.points(hits.points[rays]))
    return albedo


def _shade(stage: Stage, hits: Hits, world: World, albedo: Floats) -> Floats:
    """Diffuse light with shadows, a sky light that is stronger from above, and a highlight on what is glossy."""
    light = stage.light
    bright = lit(hits, light.direction, world)
    facing = np.where(bright, hits.normals @ light.direction, 0)
    above = 0.75 + 0.25 * (hits.normals @ stage.up)
    shaded = albedo * (facing[:, None] * np.array(light.colour) + above[:, None] * np.array(light.ambient))
    gloss = np.array([*(each.part.material.gloss for each in world.solids), 0.0])[hits.solid]
    view = -hits.points / np.maximum(np.linalg.norm(hits.points, axis=1), 1e-12)[:, None]
    half = view + light.direction
    half /= np.maximum(np.linalg.norm(half, axis=1), 1e-12)[:, None]
    shine = np.maximum((hits.normals * half).sum(axis=1), 0) ** 40 * np.where(bright, gloss, 0)
    shown: Floats = shaded + shine[:, None] * np.array(light.colour)
    return shown


def edges_of(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """The box (x0, y0, x1, y1) around a mask [h, w], its far ends exclusive; none for an empty mask."""
    rows: Ints = np.flatnonzero(mask.any(axis=1))
    columns: Ints = np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
