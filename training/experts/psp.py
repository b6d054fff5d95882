"""The multi-scale module between an image tower and its heads: pyramid pooling (Zhao et al. 2017, figure 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

POOLS = (1, 2, 3, 6)


def convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution that keeps the size, norm, ReLU.

    The norm is over all channels and places of one picture: a pool of one place in a small batch has too few values for
    statistics over the batch, and what a picture gives must not depend on its neighbours.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.GroupNorm(1, outputs), nn.ReLU()
    )


class PyramidPooling(nn.Module):
    """Averages over ever smaller parts of a map, brought to a few channels each, back beside the map, and fused.

    Every pool has 1/len(pools) of the input's channels, as in the paper; a convolution of three by three makes `width`
    channels of all. A map that is smaller than a pool's grid repeats its places there.
    """

    def __init__(self, channels: int, width: int, pools: Sequence[int] = POOLS) -> None:
        super().__init__()
        narrow = max(1, channels // len(pools))
        self.pools = tuple(pools)
        self.branches = nn.ModuleList(convolution(channels, narrow, 1) for _ in self.pools)
        self.fuse = convolution(channels + narrow * len(self.pools), width, 3)

    def forward(self, places: Tensor) -> Tensor:
        """float[n, channels, h, w] -> float[n, width, h, w]."""
        size = places.shape[-2:]
        scales = [places]
        for pool, branch in zip(self.pools, self.branches, strict=True):
            pooled = branch(functional.adaptive_avg_pool2d(places, pool))
            scales.append(functional.interpolate(pooled, size=size, mode="bilinear", align_corners=False))
        fused: Tensor = self.fuse(torch.cat(scales, dim=1))
        return fused
