"""Small packages, pictures and sources for the tests of the builder."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import webp


def noise(seed: int, *, speck: bool = False) -> bytes:
    """A drawing of 64 pixels made of large random squares; `speck` changes one pixel, which no eye notices."""
    squares = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pixels = np.kron(squares, np.ones((8, 8, 1), dtype=np.uint8))
    if speck:
        pixels[20, 20] ^= 64
    return webp(Image.fromarray(pixels))


def picture(
    seed: int, *, test: bool = False, concept: str | None = None, label: str | None = "thing", speck: bool = False
) -> Picture:
    """A picture of `noise`."""
    return Picture(noise(seed, speck=speck), (f"thing {seed}",), label, test, f"{seed}.png", concept)


def npm_package(cache: Path, name: str, files: dict[str, object]) -> Package:
    """A package of JSON files, packed into `cache` as npm would save it."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{name}-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for file, content in files.items():
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(f"package/{file}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return Package("npm", name, "1.0.0", hashlib.sha256(path.read_bytes()).hexdigest())


def source(name: str, *pictures: Picture, pool: str | None = "toys", **options: object) -> Source:
    """A source that needs no package and yields the given pictures."""

    def read(_folders: Folders, _dropped: Dropped) -> Iterator[Picture]:
        return iter(pictures)

    return Source(name, (), "MIT", "nobody", read, pool, **options)  # type: ignore[arg-type]  # by keyword, as given


CIRCLE = '<circle cx="8" cy="8" r="6" fill="{}"/>'
