"""One scene by its seed: picture, dense labels, boxes and captions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.experts.scenes.captions import Seen, captions
from training.experts.scenes.layout import Backdrop, Stage, draw_stage
from training.experts.scenes.render import Maps, draw, edges_of
from training.experts.scenes.things import CLASSES

SMALLEST_SHARE = 0.001
"""An object that covers less of the picture than this is in the maps, but has no box and no words."""

SKY_SHARE = 0.05
"""Captions name the sky where it fills at least so much of the picture."""

MOST_NOISE = 4.0  # standard deviation of the camera's noise, in levels of 0…255, is drawn from 0 to this


class SceneError(ValueError):
    """A scene cannot be made; the message says why."""


@dataclass(frozen=True)
class Scene:
    """A drawn scene of h rows and w columns.

    image: uint8[h, w, 3]. classes: uint8[h, w], indices of `CLASSES`, 0 for the background, to which ground, floor and
    walls belong. instances: uint8[h, w], number of the object from 1, 0 for the background. depth: float32[h, w], along
    the optical axis, in the scene's units (an object is about one high), nan where no surface is: in the sky and on a
    photograph. normals: float32[h, w, 3], unit, towards the camera, in its frame (x right, y down, z forward: a wall
    straight ahead has 0, 0, -1), nan where depth is. objects: what can be recognised, the largest first. focal_px:
    focal length in pixels; the optical axis goes through the picture's middle.
    """

    image: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]
    objects: tuple[Seen, ...]
    captions: tuple[str, ...]
    backdrop: Backdrop
    focal_px: float

    @property
    def disparity(self) -> npt.NDArray[np.float32]:
        """float32[h, w]: 1 / depth; 0 in the sky, which is infinitely far; nan on a photograph, where none is known."""
        unknown = np.nan if self.backdrop is Backdrop.PHOTOGRAPH else 0.0
        return np.where(np.isnan(self.depth), np.float32(unknown), 1 / self.depth).astype(np.float32)


def make_scene(seed: int, size: int | tuple[int, int] = 128, photograph: npt.NDArray[np.uint8] | None = None) -> Scene:
    """The scene of `seed`, the same bytes each time; `size`: pixels, or (rows, columns). With `photograph`
    (uint8[H, W, 3]) objects hang before it, without one they stand on the ground or in a room. What a scene shows
    depends on the seed, the ratio of the sides and whether there is a photograph; not on the number of pixels.

    Raises `SceneError` for a negative seed, a size below 8 or a photograph of another kind.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if seed < 0 or min(height, width) < 8:
        raise SceneError(f"seed {seed}, size {height}x{width}: the seed must not be negative, no side below 8 pixels")
    if photograph is not None and (
        photograph.dtype != np.uint8 or photograph.ndim != 3 or photograph.shape[2] != 3 or not photograph.size
    ):
        raise SceneError(
            f"the photograph is {photograph.dtype}{list(photograph.shape)}; uint8[rows, columns, 3] is needed"
        )
    layout, words, grain = (np.random.default_rng([seed, stream]) for stream in range(3))
    stage = draw_stage(layout, width / height, photograph=photograph is not None)
    noise = grain.uniform(0, MOST_NOISE) * grain.standard_normal((height, width, 3))
    maps = draw(stage, height, width, photograph, noise)
    seen = _objects(stage, maps)
    numbers = np.array([0] + [CLASSES.index(placed.thing.name) for placed in stage.things], dtype=np.uint8)
    return Scene(
        image=maps.image,
        classes=numbers[maps.instances],
        instances=maps.instances,
        depth=maps.depth,
        normals=maps.normals,
        objects=seen,
        captions=captions(seen, _place(stage, maps), words),
        backdrop=stage.backdrop,
        focal_px=stage.focal * min(height, width),
    )


def _place(stage: Stage, maps: Maps) -> str:
    sky = np.isnan(maps.depth).mean() >= SKY_SHARE
    return f"{stage.place_name} {stage.sky_name if sky else ''}".strip()


def _objects(stage: Stage, maps: Maps) -> tuple[Seen, ...]:
    found = []
    for number, placed in enumerate(stage.things, start=1):
        mask = maps.instances == number
        pixels, around = int(mask.sum()), edges_of(mask)
        if around is not None and pixels >= SMALLEST_SHARE * mask.size:
            thing, depth = placed.thing, float(np.median(maps.depth[mask]))
            found.append(Seen(thing.name, thing.looks, around, depth, pixels))
    return tuple(sorted(found, key=lambda each: -each.pixels))
