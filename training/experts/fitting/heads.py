"""Task heads on a tower's map, which exist while it trains and are dropped when it serves."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from training.experts.psp import PyramidPooling, convolution

Layers = Literal[1, 3]


@dataclass(frozen=True)
class Tasks:
    """Which experts teach: the number of classes of segmentation (0: none), depth, normals."""

    classes: int = 0
    depth: bool = False
    normals: bool = False

    @property
    def any(self) -> bool:
        """Whether there is a task at all."""
        return self.classes > 0 or self.depth or self.normals


@dataclass(frozen=True)
class Predictions:
    """classes: logits float32[n, classes, h, w]; depth: float32[n, h, w]; normals: float32[n, 3, h, w], unit vectors.
    None for a task without a head."""

    classes: Tensor | None = None
    depth: Tensor | None = None
    normals: Tensor | None = None


def head(width: int, outputs: int, layers: Layers = 1) -> nn.Module:
    """One point-wise convolution, or three of three by three (the paper's light and heavy heads, table 6)."""
    if layers == 1:
        return nn.Conv2d(width, outputs, 1)
    return nn.Sequential(
        convolution(width, width, 3), convolution(width, width, 3), nn.Conv2d(width, outputs, 3, padding=1)
    )


class DenseHeads(nn.Module):
    """One multi-scale module that all tasks share, and a head of each."""

    def __init__(self, channels: int, tasks: Tasks, *, layers: Layers = 1, width: int | None = None) -> None:
        super().__init__()
        width = channels if width is None else width
        self.tasks = tasks
        self.shared = PyramidPooling(channels, width)
        self.heads = nn.ModuleDict()
        for name, outputs in (("classes", tasks.classes), ("depth", int(tasks.depth)), ("normals", 3 * tasks.normals)):
            if outputs:
                self.heads[name] = head(width, outputs, layers)

    def forward(self, places: Tensor, size: tuple[int, int]) -> Predictions:
        """A tower's map float[n, channels, rows, columns] to predictions of `size` pixels, by nearest neighbours."""
        shared = self.shared(places.float())
        found = {
            name: functional.interpolate(head(shared), size=size, mode="nearest") for name, head in self.heads.items()
        }
        return Predictions(
            classes=found.get("classes"),
            depth=found["depth"][:, 0] if "depth" in found else None,
            normals=functional.normalize(found["normals"], dim=1) if "normals" in found else None,
        )
