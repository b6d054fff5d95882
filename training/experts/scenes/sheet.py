"""Contact sheets: pictures beside their dense labels, to be looked at."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.experts.scenes.scene import Scene

Picture = npt.NDArray[np.uint8]

GAP_PX = 2
GOLDEN = 0.61803398875  # steps of this around the colour circle never come close to each other


def class_colours(count: int) -> Picture:
    """uint8[count, 3]: a colour for every class, black for 0."""
    wheel = [
        colorsys.hsv_to_rgb((GOLDEN * i) % 1, 0.55 + 0.4 * (i % 2), 0.95 - 0.3 * (i % 3 == 0)) for i in range(count)
    ]
    colours: Picture = np.rint(255 * np.array(wheel)).astype(np.uint8)
    colours[0] = 0
    return colours


def show_classes(classes: Picture) -> Picture:
    """uint8[h, w, 3] for a class map uint8[h, w]."""
    shown: Picture = class_colours(256)[classes]
    return shown


def show_depth(depth: npt.NDArray[np.float32]) -> Picture:
    """Near is light and far is dark, by disparity; what has no depth is blue. uint8[h, w, 3] for float32[h, w]."""
    none = np.isnan(depth)
    if none.all():
        return np.broadcast_to(np.array([40, 40, 120], np.uint8), (*depth.shape, 3)).copy()
    near = 1 / depth
    low, high = np.nanmin(near), np.nanmax(near)
    grey = np.where(none, 0, 20 + 235 * (near - low) / max(high - low, 1e-12))
    shown = np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)
    shown[none] = (40, 40, 120)
    return shown


def show_normals(normals: npt.NDArray[np.float32]) -> Picture:
    """The usual colours: right is red, up is green, towards the camera is blue. uint8[h, w, 3] for float32[h, w, 3]."""
    turned = normals * np.array([1, -1, -1], np.float32)
    return np.where(np.isnan(turned), 0, np.rint(127.5 * (turned + 1))).astype(np.uint8)


def tile(rows: Sequence[Sequence[Picture]]) -> Picture:
    """Pictures of one size in rows and columns with a gap: one uint8[H, W, 3]."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    page = np.full((len(rows) * (height + GAP_PX), columns * (width + GAP_PX), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * (height + GAP_PX), j * (width + GAP_PX)
            page[top : top + height, left : left + width] = picture
    return page


def contact_sheet(scenes: Sequence[Scene], columns: int = 3) -> Picture:
    """Each scene as picture, classes, depth and normals side by side, `columns` scenes to a row."""
    strips = [
        [scene.image, show_classes(scene.classes), show_depth(scene.depth), show_normals(scene.normals)]
        for scene in scenes
    ]
    rows = [[part for strip in strips[i : i + columns] for part in strip] for i in range(0, len(strips), columns)]
    return tile(rows)
