"""Scenes as a source: rows of pictures with captions and boxes, and exact labels in stores beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.pipeline.inputs.decode import decode
from training.data.rows import DataError, Row
from training.data.samples import LIMITS
from training.experts import scenes
from training.experts.dense_source import (
    DensePicture,
    DenseSource,
    encode_picture,
    exact_label,
    write_dense_source,
)
from training.experts.errors import ExpertError
from training.experts.protocol import Dense, Identity, Kind
from training.experts.scenes import CLASSES, Scene, make_scene

if TYPE_CHECKING:
    from training.data.sources import DataDirs

VERSION = "1"
STREAM = 7  # of random numbers, beside those that a scene draws from its seed
SHEETS_ONLY = ("sheet.py",)  # draws no scene


def generator_digest() -> str:
    """sha256 in hex over the generator's program: what stands for weights where labels are exact."""
    found = hashlib.sha256()
    for path in sorted(Path(scenes.__file__).parent.glob("*.py")):
        if path.name not in SHEETS_ONLY:
            found.update(path.name.encode() + b"\n" + path.read_bytes())
    return found.hexdigest()


def exact_identities() -> tuple[Identity, ...]:
    """The stores of a source of scenes.

    exact-depth is unknown in the sky; exact-disparity is 0 there, and is what an expert for depth learns from. Neither
    is known on a photograph.
    """
    version, digest = f"scenes {VERSION}", generator_digest()
    return (
        Identity("exact-classes", version, digest, Kind.CLASSES, CLASSES),
        Identity("exact-depth", version, digest, Kind.DEPTH),
        Identity("exact-disparity", version, digest, Kind.DISPARITY),
        Identity("exact-normals", version, digest, Kind.NORMALS),
    )


@dataclass(frozen=True)
class SceneJob:
    """One scene to draw. photograph: encoded bytes of what is behind the objects, or none; origin: its source and the
    start of its digest."""

    seed: int
    photograph: bytes | None = None
    origin: str = ""


@dataclass(frozen=True)
class DrawScene:
    """Makes the picture of a `SceneJob`, `size` pixels wide and high."""

    size: int
    identities: tuple[Identity, ...]

    def __call__(self, job: SceneJob) -> DensePicture:
        photograph = None
        if job.photograph is not None:
            photograph = np.asarray(decode(job.photograph, LIMITS, self.size), dtype=np.uint8)
        scene = make_scene(job.seed, self.size, photograph)
        maps: dict[Kind, Dense] = {
            Kind.CLASSES: scene.classes,
            Kind.DEPTH: scene.depth,
            Kind.DISPARITY: scene.disparity,
            Kind.NORMALS: scene.normals,
        }
        labels = {each.name: exact_label(each, maps[each.kind]) for each in self.identities}
        return DensePicture(encode_picture(scene.image), scene.captions, labels, describe(scene, job))


def describe(scene: Scene, job: SceneJob) -> dict[str, Any]:
    """What a row's `extra` says of its scene. boxes: class name, x0, y0, x1, y1 in pixels, far ends exclusive, the
    largest object first; photograph: which one is behind, where there is one."""
    return {
        **({"photograph": job.origin} if job.origin else {}),
        "boxes": [[each.name, *each.box] for each in scene.objects],
        "backdrop": str(scene.backdrop),
        "focal_px": round(scene.focal_px, 3),
        "seed": job.seed,
        "size": len(scene.image),
    }


@dataclass(frozen=True)
class Photographs:
    """What stands behind some of the scenes. data, sources: where they are read; test: whether from test rows, else
    from train rows; share: of the scenes that have one."""

    data: DataDirs
    sources: tuple[str, ...]
    share: float = 0.4

    def read(self, *, test: bool) -> list[Row]:
        """In the order of their digests, so that the order of files does not matter; each picture once."""
        # Readers of shards import torch, which every process that draws would load as well.
        from training.data.sources import read_rows

        found = {row.digest: row for row in read_rows(self.data, self.sources) if row.test is test}
        if not found:
            raise DataError(f"{', '.join(self.sources)}: no {'test' if test else 'train'} row to stand behind scenes")
        return [row for _, row in sorted(found.items())]


def write_scenes(
    data: Path,
    name: str,
    *,
    count: int,
    seed: int,
    size: int = 96,
    test: bool = False,
    photographs: Photographs | None = None,
    workers: int = 1,
    progress: bool = False,
) -> Path:
    """The scenes of the seeds from `seed` to `seed + count - 1` as source `name` in `data`; its file of rows.

    Equal arguments give equal pictures and labels. Raises what `write_dense_source` raises, `DataError` if there is no
    photograph, and `ExpertError` for numbers that make no sense.
    """
    if count < 1 or seed < 0 or size < 8:
        raise ExpertError("scenes need a count of 1 or more, a seed that is not negative and 8 pixels or more.")
    behind = photographs.read(test=test) if photographs else []
    jobs = [_job(each, behind, photographs.share if photographs else 0.0) for each in range(seed, seed + count)]
    identities = exact_identities()
    made = {
        "count": count,
        "seed": seed,
        "photographs": _photographs_digest(jobs),
        "share": photographs.share if photographs else 0.0,
        "backgrounds": list(photographs.sources) if photographs else [],
    }
    source = DenseSource(name, test, size, identities, made, DrawScene(size, identities))
    return write_dense_source(data, source, jobs, workers=workers, progress=progress)


def _job(seed: int, behind: Sequence[Row], share: float) -> SceneJob:
    rng = np.random.default_rng((seed, STREAM))
    if not behind or rng.random() >= share:
        return SceneJob(seed)
    row = behind[int(rng.integers(len(behind)))]
    return SceneJob(seed, row.image, f"{row.source} {row.digest[:12]}")


def _photographs_digest(jobs: Sequence[SceneJob]) -> str:
    """sha256 in hex over the photographs that are used, in order."""
    found = hashlib.sha256()
    for job in jobs:
        found.update(hashlib.sha256(job.photograph or b"").digest())
    return found.hexdigest()
