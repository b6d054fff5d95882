"""Composites: drawings before photographs, a source of pictures with exact class maps along the drawings' alpha.

Scenes are made by the program that also made the experts' data; these are not. The drawings are by many hands, their
categories are no classes of any expert here, and what lies behind them is a photograph: what a probe learns from them
says how far a tower's maps carry beyond what it was taught.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.pipeline.inputs.decode import decode
from training.data.rows import Row
from training.data.samples import LIMITS
from training.experts import drawings as drawings_module
from training.experts.dense_source import DensePicture, DenseSource, encode_picture, exact_label, write_dense_source
from training.experts.drawings import CATEGORIES, Drawing, read_drawings
from training.experts.errors import ExpertError
from training.experts.programs import program_digest
from training.experts.protocol import Identity, Kind
from training.experts.scene_source import Photographs
from training.experts.scenes.captions import with_article
from training.experts.scenes.render import edges_of

VERSION: Final = "1"
CLASSES: Final = ("background", *CATEGORIES)
STORE: Final = "exact-classes"

MOST_DRAWINGS: Final = 4
SMALLEST, LARGEST = 0.28, 0.75
"""Longer side of a drawing as a share of the picture's."""
LARGEST_TURN: Final = 25.0  # degrees to either side
OUTSIDE: Final = 0.2
"""Share of its own size by which a drawing may lie beyond the picture's edge."""
SMALLEST_SHARE: Final = 0.004
"""A drawing of which less of the picture is seen is in the map, but has no box and no words."""

Pixels = npt.NDArray[np.uint8]


def exact_identity() -> Identity:
    """The one store of a source of composites."""
    digest = program_digest((Path(__file__), Path(drawings_module.__file__)))
    return Identity(STORE, f"composites {VERSION}", digest, Kind.CLASSES, CLASSES)


@dataclass(frozen=True)
class CompositeJob:
    """One picture to make: what lies behind, encoded, and its name; the drawings, the farthest first."""

    seed: int
    photograph: bytes
    called: str
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Composite:
    """image: uint8[s, s, 3]; classes: uint8[s, s], indices of `CLASSES`; instances: uint8[s, s], number of the drawing
    from 1, 0 for the photograph."""

    image: Pixels
    classes: Pixels
    instances: Pixels


@dataclass(frozen=True)
class DrawComposite:
    """Makes the picture of a `CompositeJob`, `size` pixels wide and high."""

    size: int
    identity: Identity

    def __call__(self, job: CompositeJob) -> DensePicture:
        made = compose(job, self.size)
        boxes = list(visible_boxes(made, job.drawings))
        extra = {
            "boxes": boxes,
            "drawings": [each.name for each in job.drawings],
            "photograph": job.called,
            "seed": job.seed,
            "size": self.size,
        }
        labels = {self.identity.name: exact_label(self.identity, made.classes)}
        return DensePicture(encode_picture(made.image), (caption([box[0] for box in boxes]),), labels, extra)


def compose(job: CompositeJob, size: int) -> Composite:
    """The same bytes each time: places, sizes and turns follow from the seed."""
    rng = np.random.default_rng((job.seed, 11))
    image = _behind(job.photograph, size, rng)
    classes, instances = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    for number, drawing in enumerate(job.drawings, start=1):
        layer = _placed(drawing.pixels(), size, rng)
        alpha = layer[..., 3:].astype(np.float32) / np.float32(255)
        image = (image * (1 - alpha) + layer[..., :3] * alpha).astype(np.float32)
        solid = layer[..., 3] >= 128
        classes[solid], instances[solid] = CLASSES.index(drawing.category), number
    return Composite(np.rint(image).astype(np.uint8), classes, instances)


def _behind(photograph: bytes, size: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A random square of a photograph, float32[size, size, 3]."""
    whole = Image.fromarray(np.asarray(decode(photograph, LIMITS, size), dtype=np.uint8))
    side = rng.uniform(0.75, 1) * min(whole.size)
    left, top = (rng.uniform(0, full - side) for full in whole.size)
    box = (left, top, left + side, top + side)
    return np.asarray(whole.resize((size, size), Image.Resampling.BICUBIC, box=box), dtype=np.float32)


def _placed(drawing: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """A drawing turned, mirrored, sized and laid somewhere on an empty page: uint8[size, size, 4]."""
    turn, mirrored = rng.uniform(-LARGEST_TURN, LARGEST_TURN), rng.random() < 0.5
    longest = size * rng.uniform(SMALLEST, LARGEST)
    # Premultiplied, so that the colour under full transparency does not bleed into the outline.
    image = Image.fromarray(drawing[:, ::-1] if mirrored else drawing).convert("RGBa")
    image = image.rotate(turn, Image.Resampling.BICUBIC, expand=True)
    factor = longest / max(image.size)
    small = image.resize(
        (max(1, round(image.width * factor)), max(1, round(image.height * factor))), Image.Resampling.LANCZOS
    )
    left, top = (
        round(rng.uniform(-OUTSIDE * side, size - (1 - OUTSIDE) * side)) for side in (small.width, small.height)
    )
    page = Image.new("RGBa", (size, size))
    page.paste(small, (left, top))
    return np.asarray(page.convert("RGBA"))


def visible_boxes(made: Composite, drawings: Sequence[Drawing]) -> Iterator[tuple[str, int, int, int, int]]:
    """Category and edges of what is seen of each drawing, the largest first: x0, y0, x1, y1, far ends exclusive."""
    counts = np.bincount(made.instances.ravel(), minlength=len(drawings) + 1)[1:]
    for index in np.argsort(-counts, kind="stable"):
        edges = edges_of(made.instances == index + 1)
        if edges is not None and counts[index] >= SMALLEST_SHARE * made.instances.size:
            yield (drawings[index].category, *edges)


def caption(categories: Sequence[str]) -> str:
    """What is seen, every category once."""
    words = [with_article(each) for each in dict.fromkeys(categories)]
    if not words:
        return "a photo"
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{listed} on a photo"


def draw_jobs(drawings: Sequence[Drawing], photographs: Sequence[Row], seeds: Sequence[int]) -> list[CompositeJob]:
    """One picture for each seed: a photograph, one to `MOST_DRAWINGS` categories, of each any drawing.

    Categories come equally often, however many drawings they have.
    """
    by_category = {name: [each for each in drawings if each.category == name] for name in CATEGORIES}
    jobs = []
    for seed in seeds:
        rng = np.random.default_rng((seed, 13))
        count = int(rng.integers(1, MOST_DRAWINGS + 1))
        names = rng.choice(list(CATEGORIES), size=count, replace=False)
        pools = [by_category[str(name)] for name in names]
        chosen = tuple(pool[int(rng.integers(len(pool)))] for pool in pools)
        behind = photographs[int(rng.integers(len(photographs)))]
        jobs.append(CompositeJob(seed, behind.image, f"{behind.source} {behind.digest[:12]}", chosen))
    return jobs


@dataclass(frozen=True)
class Cupboard:
    """Where the drawings come from: the folder of the built sources, and that of their packages."""

    data: Path
    packages: Path

    def read(self, *, test: bool) -> list[Drawing]:
        """Those of one side of the split. Raises what `read_drawings` raises."""
        return [each for each in read_drawings(self.data, self.packages) if each.test is test]


def write_composites(
    data: Path,
    name: str,
    *,
    count: int,
    seed: int,
    cupboard: Cupboard,
    photographs: Photographs,
    size: int = 96,
    test: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Path:
    """The composites of the seeds from `seed` to `seed + count - 1` as source `name` in the folder `data`; the file of
    rows. Drawings and photographs are of one side of their splits.

    Equal arguments give equal pictures and labels. Raises what `write_dense_source` and `read_drawings` raise,
    `DataError` if there is no photograph, and `ExpertError` for numbers that make no sense.
    """
    if count < 1 or seed < 0 or size < 16:
        raise ExpertError("composites need a count of 1 or more, a seed that is not negative and 16 pixels or more.")
    jobs = draw_jobs(cupboard.read(test=test), photographs.read(test=test), range(seed, seed + count))
    identity = exact_identity()
    source = DenseSource(name, test, size, (identity,), _made(jobs), DrawComposite(size, identity))
    return write_dense_source(data, source, jobs, workers=workers, progress=progress)


def _made(jobs: Sequence[CompositeJob]) -> Mapping[str, Any]:
    """All that decides the pictures: the seeds, and sha256 in hex over what is used, in order."""
    used = hashlib.sha256()
    for job in jobs:
        parts = [hashlib.sha256(job.photograph).hexdigest(), *(each.digest for each in job.drawings)]
        used.update(json.dumps(parts).encode())
    return {"seed": jobs[0].seed, "count": len(jobs), "used": used.hexdigest()}
