"""Augmentation of whole batches on tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """Strength of the random changes; all ranges are drawn uniformly, per image.

    scale: area of the crop relative to the image; rotation in degrees; shift relative to half a side; stretch of the
    aspect ratio in log units; contrast, brightness and saturation as half-widths around 1; mirror and invert are shares
    of images shown as in a mirror (not for digits) and as negatives (for what is drawn both ways round).
    """

    scale: tuple[float, float] = (0.6, 1.1)
    rotation_degrees: float = 8.0
    shift: float = 0.12
    contrast: float = 0.3
    brightness: float = 0.2
    saturation: float = 0.3
    stretch: float = 0.08
    mirror: float = 0.5
    invert: float = 0.0


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low


def affine_matrices(n: int, strength: Augmentation, generator: torch.Generator) -> Tensor:
    """Random crops, rotations, shifts and mirror images as inverse affine maps: float32[n, 2, 3]."""
    side = _uniform(n, *strength.scale, generator).sqrt()
    stretch = _uniform(n, -strength.stretch, strength.stretch, generator).exp()
    angle = torch.deg2rad(_uniform(n, -strength.rotation_degrees, strength.rotation_degrees, generator))
    mirror = torch.where(torch.rand(n, generator=generator) < strength.mirror, -1.0, 1.0)
    # A crop smaller than the image may lie anywhere inside it, besides the small free shift.
    room = (1 - side).clamp(min=0) + strength.shift
    dx, dy = (_uniform(n, -1, 1, generator) * room for _ in range(2))
    cos, sin = angle.cos() * side, angle.sin() * side
    rows = [cos * mirror * stretch, -sin / stretch, dx, sin * mirror * stretch, cos / stretch, dy]
    return torch.stack(rows, dim=1).view(n, 2, 3)


def jitter_colours(
    images: Tensor,
    strength: Augmentation,
    generator: torch.Generator,
    *,
    of: int | None = None,
    part: slice = slice(None),
) -> Tensor:
    """Random brightness, contrast and saturation of images in 0..1: float32[n, 3, h, w].

    They may be a `part` of a batch of more: what is drawn is drawn for all, so that the part changes as it would there.
    """
    n = len(images) if of is None else of

    def factor(half_width: float) -> Tensor:
        return _uniform(n, 1 - half_width, 1 + half_width, generator).view(n, 1, 1, 1)[part].to(images.device)

    grey = images.mean(dim=1, keepdim=True)
    images = torch.lerp(grey.expand_as(images), images, factor(strength.saturation))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = torch.lerp(mean.expand_as(images), images, factor(strength.contrast))
    images = (images * factor(strength.brightness)).clamp_(0, 1)
    if strength.invert == 0:
        return images
    negative = (torch.rand(n, generator=generator).view(n, 1, 1, 1) < strength.invert)[part].to(images.device)
    return torch.where(negative, 1 - images, images)


def augment(images: Tensor, strength: Augmentation, generator: torch.Generator, side: int | None = None) -> Tensor:
    """uint8[n, h, w, 3] to augmented float32[n, 3, h, w] in 0..1, or [n, 3, side, side] where a side is given.

    Edges are continued by reflection. What is random is drawn by `generator`, on its own device: pictures that lie on
    another one, a GPU's say, are changed alike there.
    """
    planes = images.permute(0, 3, 1, 2).float().div_(255).contiguous()
    if side is not None:
        planes = functional.interpolate(planes, size=(side, side), mode="bilinear", antialias=True)
    matrices = affine_matrices(len(planes), strength, generator).to(planes.device)
    grid = functional.affine_grid(matrices, list(planes.shape), align_corners=False)
    moved = functional.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return jitter_colours(moved, strength, generator)


def soften(images: Tensor) -> Tensor:
    """What the resampling in `augment` does to a picture on average: float[n, c, h, w], of the same size.

    Between pixels at an offset u, even over -1/2..1/2 as random maps make it, bilinear sampling weighs the two
    neighbours by 1 - |u| and |u|: in the mean 3/4 for the pixel and 1/8 for each side of it, along both axes. A tower
    that is trained on resampled pictures alone has never seen the sharpness of one that arrives in its own size.
    """
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = 0.75 * padded[:, :, 1:-1] + 0.125 * (padded[:, :, :-2] + padded[:, :, 2:])
    return 0.75 * rows[..., 1:-1] + 0.125 * (rows[..., :-2] + rows[..., 2:])
