"""Figure 6b: whether the scales of one attention say different things, on two principal axes.

The paper draws its branches by t-SNE; principal axes are the same on every machine and need no library.
"""

from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.adapters.adapt import attention_kernels, embed_pictures
from training.adapters.attach import Adapted
from training.adapters.attention import ScaleAttention

SCALES: Final = ("large", "middle", "small")

Floats = npt.NDArray[np.float64]
Point = tuple[float, float]


@dataclass(frozen=True)
class Branches:
    """The last block of the image tower: by scale the features of the same pictures, mean over patches, on two
    principal axes. `explained`: share of the variance on them; `together`: by scale the share of points whose nearest
    neighbour, in all dimensions, is of that scale too (a third if scales said the same)."""

    points: dict[str, tuple[Point, ...]]
    explained: float
    together: dict[str, float]


def measure_branches(adapted: Adapted, images: Tensor) -> Branches | None:
    """From pictures uint8[n, h, w, 3]; null for an image tower without three scales."""
    own = [module for module in cast(nn.Module, adapted.model.visual).modules() if isinstance(module, ScaleAttention)]
    if not own or len(own[-1].bands) != len(SCALES):
        return None
    return branches(features_of(adapted, own[-1], images))


@torch.inference_mode()
def features_of(adapted: Adapted, scales: ScaleAttention, images: Tensor) -> Floats:
    """float64[s, n, d]: what every scale gives, the mean over patches (the class token sees all of them anyway)."""
    heard: list[Tensor] = []
    handle = scales.register_forward_hook(lambda _module, _inputs, output: heard.append(output))
    try:
        with attention_kernels(images.device):
            embed_pictures(adapted, images)
    finally:
        handle.remove()
    (mixed,) = heard
    return np.asarray(mixed[:, 1:].mean(dim=1).permute(1, 0, 2).double().numpy())


def branches(features: Floats) -> Branches:
    """From float64[s, n, d], in order of `SCALES`."""
    count, pictures, _ = features.shape
    rows = features.reshape(count * pictures, -1)
    centred = rows - rows.mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    # The sign of an axis is the machine's choice: the largest component is made positive.
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    placed = np.round(centred @ axes.T, 4).reshape(count, pictures, 2)
    scale = np.repeat(np.arange(count), pictures)
    distances = np.square(rows[:, None] - rows[None]).sum(axis=-1)
    np.fill_diagonal(distances, np.inf)
    same = scale[distances.argmin(axis=1)] == scale
    return Branches(
        points={name: tuple((x, y) for x, y in each.tolist()) for name, each in zip(SCALES, placed, strict=True)},
        explained=float(np.square(lengths[:2]).sum() / np.square(lengths).sum()),
        together={name: float(same[scale == index].mean()) for index, name in enumerate(SCALES)},
    )
