"""Dense targets of a batch of pictures: what experts say about every pixel, with holes where they say nothing."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

# A pixel without a class. Depth and normals say the same with NaN.
NO_CLASS = -1


@dataclass(frozen=True)
class Targets:
    """What is known about n pictures of h by w pixels. A task is None where no expert of it ran.

    classes: int64[n, h, w], `NO_CLASS` where there is none; depth: float32[n, h, w], NaN where there is none;
    normals: float32[n, 3, h, w], unit vectors, NaN in all three where there is none.
    Raises `ValueError` if shapes or types are others, or the three do not belong to the same pictures.
    """

    classes: Tensor | None = None
    depth: Tensor | None = None
    normals: Tensor | None = None

    def __post_init__(self) -> None:
        _check("classes", self.classes, torch.int64, dims=3)
        _check("depth", self.depth, torch.float32, dims=3)
        _check("normals", self.normals, torch.float32, dims=4)
        if self.normals is not None and self.normals.shape[1] != 3:
            raise ValueError(f"targets: normals have three channels, not {self.normals.shape[1]}")
        sizes = {(len(each), *each.shape[-2:]) for each in self._present()}
        if len(sizes) > 1:
            raise ValueError(f"targets: tasks of different pictures or sizes: {sorted(sizes)}")

    def __len__(self) -> int:
        """How many pictures; 0 where no task is there."""
        return next((len(each) for each in self._present()), 0)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels. Raises `ValueError` where no task is there."""
        for each in self._present():
            return int(each.shape[-2]), int(each.shape[-1])
        raise ValueError("targets: there are none, and so they have no size")

    def take(self, index: Tensor) -> "Targets":
        """Those of the pictures at `index`, int64[m]."""
        return Targets(*(None if each is None else each[index] for each in self._all()))

    def only(self, *, classes: bool, depth: bool, normals: bool) -> "Targets":
        """Without the tasks that are switched off."""
        return replace(
            self,
            classes=self.classes if classes else None,
            depth=self.depth if depth else None,
            normals=self.normals if normals else None,
        )

    def to(self, device: torch.device) -> "Targets":
        """On `device`."""
        return Targets(*(None if each is None else each.to(device) for each in self._all()))

    def flipped(self) -> "Targets":
        """Of the pictures mirrored left to right: maps are mirrored, and what points right points left."""
        normals = None
        if self.normals is not None:
            normals = self.normals.flip(-1) * torch.tensor([-1.0, 1.0, 1.0]).to(self.normals).view(3, 1, 1)
        return Targets(
            None if self.classes is None else self.classes.flip(-1),
            None if self.depth is None else self.depth.flip(-1),
            normals,
        )

    def _all(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.classes, self.depth, self.normals

    def _present(self) -> list[Tensor]:
        return [each for each in self._all() if each is not None]


def _check(name: str, value: Tensor | None, dtype: torch.dtype, dims: int) -> None:
    if value is not None and (value.dtype != dtype or value.dim() != dims):
        found = f"{str(value.dtype).removeprefix('torch.')} with {value.dim()}"
        raise ValueError(f"targets: {name} are {str(dtype).removeprefix('torch.')} with {dims} axes, not {found}")
