"""What an expert is: pictures in, one dense map for each out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from training.experts.errors import ExpertError

UNKNOWN_CLASS = 255
"""Value of a class map where an expert does not say what there is. 0 is the background."""

Pictures = npt.NDArray[np.uint8]
Dense = npt.NDArray[Any]


class Kind(StrEnum):
    """What a map says of a pixel.

    classes: uint8[n, h, w], 0 for the background, `UNKNOWN_CLASS` for unknown. depth: float32[n, h, w], along the
    optical axis; disparity: float32[n, h, w], large where things are near, up to a factor and a shift; nan where
    unknown in both. normals: float32[n, h, w, 3], unit, towards the camera (x right, y down, z forward), nan where
    unknown.
    """

    CLASSES = "classes"
    DEPTH = "depth"
    DISPARITY = "disparity"
    NORMALS = "normals"


@dataclass(frozen=True)
class Identity:
    """Which expert made a label. version: of its code and training; digest: sha256 of its weights in hex; classes:
    names of the values of class maps, empty for other kinds."""

    name: str
    version: str
    digest: str
    kind: Kind
    classes: tuple[str, ...] = ()


class Expert(Protocol):
    """Something that labels every pixel."""

    @property
    def identity(self) -> Identity:
        """What is kept beside its labels."""

    def __call__(self, images: Pictures) -> Dense:
        """The maps of uint8[n, h, w, 3], of the same height and width, as `Kind` says.

        May raise anything for a picture that it cannot read; it is then asked for each picture of the batch alone.
        """


def check_maps(maps: Dense, images: Pictures, identity: Identity) -> None:
    """Raises `ExpertError` if an expert's answer is not what its kind promises."""
    shape = images.shape if identity.kind is Kind.NORMALS else images.shape[:3]
    dtype = np.dtype(np.uint8 if identity.kind is Kind.CLASSES else np.float32)
    if maps.shape != shape or maps.dtype != dtype:
        raise ExpertError(
            f"{identity.name}: {identity.kind} must be {dtype}{list(shape)}; it gave {maps.dtype}{list(maps.shape)}."
        )
