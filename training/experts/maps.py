"""What an image tower knows of every place of a picture, besides the one embedding of it all.

One forward pass gives both, whatever the tower: patch tokens without class tokens for transformers, what the tokens of
a mixer are at its end, the last stage of convolutions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from training.experts.errors import ExpertError
from training.experts.resize import at_side, own_side


@dataclass(frozen=True)
class Features:
    """embedding: float[n, e], not normalised, what `encode_image` gives; places: float[n, c, rows, columns]."""

    embedding: Tensor
    places: Tensor


@dataclass(frozen=True)
class MapShape:
    """Channels of a feature map, its rows and its columns."""

    channels: int
    rows: int
    columns: int


def tower_features(visual: nn.Module, images: Tensor) -> Features:
    """Embedding and map of normalised pictures, float32[n, 3, s, s], by an image tower of OpenCLIP.

    s may be another size than the tower's own (see `resize.at_side`). Raises `ExpertError` for what does not fit.
    """
    if images.shape[-1] != images.shape[-2]:
        raise ExpertError(f"towers take square pictures, not {images.shape[-2]} x {images.shape[-1]} pixels.")
    tower = at_side(visual, images.shape[-1])
    if isinstance(tower, VisionTransformer):
        return _of_transformer(tower, images)
    if isinstance(tower, ModifiedResNet):
        places = tower.layer4(tower.layer3(tower.layer2(tower.layer1(tower.stem(images)))))
        return Features(tower.attnpool(places), places)
    return _of_timm(cast(TimmModel, tower), images)


@torch.no_grad()
def map_shape(visual: nn.Module, side: int | None = None) -> MapShape:
    """Shape of the map for pictures of `side` pixels (the tower's own size, where none is given), by trying it."""
    side = own_side(visual) if side is None else side
    device = next(visual.parameters()).device
    with evaluated(visual):
        places = tower_features(visual, torch.zeros(1, 3, side, side, device=device)).places
    return MapShape(*places.shape[1:])


@contextmanager
def evaluated(module: nn.Module) -> Iterator[None]:
    """`module` in evaluation mode for a while; each of its parts is in its own mode again afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _of_transformer(tower: VisionTransformer, images: Tensor) -> Features:
    if tower.output_tokens:
        raise ExpertError("a tower that gives its tokens beside its embedding captions pictures; that is no CLIP.")
    tokens = tower.transformer(tower._embeds(images))
    pooled, _ = tower._pool(tokens)
    embedding = pooled if tower.proj is None else pooled @ tower.proj
    # A pooling attention has its norm behind it, in another width.
    normed = tokens if tower.attn_pool is not None else tower.ln_post(tokens)
    return Features(embedding, _as_map(normed[:, 1:], tower.grid_size))


def _of_timm(tower: TimmModel, images: Tensor) -> Features:
    """timm's models are `forward_features`, then `forward_head`; OpenCLIP's projection follows."""
    trunk = tower.trunk
    found = trunk.forward_features(images)
    embedding = tower.head(trunk.forward_head(found))
    if found.dim() == 4:
        return Features(embedding, _channels_first(found, trunk))
    tokens = found[:, getattr(trunk, "num_prefix_tokens", 0) :]
    side = round(tokens.shape[1] ** 0.5)
    if side * side != tokens.shape[1]:
        raise ExpertError(f"the {tokens.shape[1]} tokens of a {type(trunk).__name__} are no square map.")
    return Features(embedding, _as_map(tokens, (side, side)))


def _channels_first(found: Tensor, trunk: nn.Module) -> Tensor:
    """Some of timm's trunks keep channels last, and say so."""
    return found.permute(0, 3, 1, 2) if str(getattr(trunk, "output_fmt", "NCHW")) == "NHWC" else found


def _as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """float[n, rows * columns, c] -> float[n, c, rows, columns]."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)
