"""Image towers that take pictures of another size than their own, by position embeddings that are interpolated.

Nothing of the tower is edited: `at_side` makes a shallow twin whose weights are the very same tensors. Its positions
are computed from the tower's own, so gradients reach these, and what was trained at one size has the shapes of another.
"""

import copy
from typing import Any, cast

import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.byobnet import ByobNet
from timm.models.convnext import ConvNeXt
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer as TimmTransformer
from torch import Tensor, nn
from torch.nn import functional

from training.adapters.attach import twin
from training.experts.errors import ExpertError

Grid = tuple[int, int]

# Trunks of convolutions alone, which take pictures of any size as they are.
SIZE_FREE = (ByobNet, ConvNeXt, ResNet)
RESNET_STRIDE = 32
# Where the towers keep their positions, and what drops patches: the module in the tower, the name in the module.
POSITIONS = (("", "positional_embedding"), ("attnpool", "positional_embedding"), ("trunk", "pos_embed"))
DROPPING = (("", "patch_dropout"), ("trunk", "patch_drop"))


def interpolate_positions(table: Tensor, old: Grid, new: Grid, prefix: int) -> Tensor:
    """Position embeddings float[prefix + rows * columns, d] of the grid `old` for the grid `new`, bicubic.

    The first `prefix` rows (class tokens) stay. The same grid gives the very same tensor.
    """
    if old == new:
        return table
    kept, places = table[:prefix], table[prefix:]
    planes = places.float().reshape(1, *old, -1).permute(0, 3, 1, 2)
    planes = functional.interpolate(planes, size=new, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([kept, planes.flatten(2)[0].T.to(table.dtype)])


def own_side(visual: nn.Module) -> int:
    """Side of the square pictures that an image tower of OpenCLIP was made for. Raises `ExpertError` for others."""
    size: Any = visual.image_size
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if sides[0] != sides[1]:
        raise ExpertError(f"the image tower takes pictures of {sides[0]} x {sides[1]} pixels; only square ones fit.")
    return int(sides[0])


def at_side(visual: nn.Module, side: int) -> nn.Module:
    """A twin of an image tower for pictures of `side` pixels, which sees every patch.

    Towers may drop patches at random while they train; a map with holes is of no use to a dense loss. At the tower's
    own size that is all that differs. Raises `ExpertError` for a size or a tower that does not fit.
    """
    if isinstance(visual, VisionTransformer):
        return _open_clip_transformer(visual, side)
    if isinstance(visual, ModifiedResNet):
        return _open_clip_resnet(visual, side)
    if isinstance(visual, TimmModel):
        return _timm_model(visual, side)
    raise ExpertError(f"feature maps are known for OpenCLIP's towers, not for a {type(visual).__name__}.")


def resized(clip: CLIP | CustomTextCLIP, side: int) -> CLIP | CustomTextCLIP:
    """A copy of a model, with weights of its own, whose image tower takes pictures of `side` pixels from now on.

    For serving at the size that it was fine-tuned at. Raises `ExpertError` as `at_side`.
    """
    other = copy.deepcopy(clip)
    before = other.visual
    other.visual = at_side(before, side)
    for path, leaf in POSITIONS:
        holder = _submodule(other.visual, path)
        value = getattr(holder, leaf, None)
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            delattr(holder, leaf)
            setattr(holder, leaf, nn.Parameter(value.detach()))
    for path, leaf in DROPPING:
        kept, holder = _submodule(before, path), _submodule(other.visual, path)
        if kept is not None and holder is not None and hasattr(kept, leaf):
            setattr(holder, leaf, getattr(kept, leaf))
    return other


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    """The module at `path`, itself for an empty one."""
    return module if not path else cast(nn.Module | None, getattr(module, path, None))


def _put(module: nn.Module, name: str, value: Tensor) -> None:
    """`value`, a parameter or something computed from one, in place of a parameter of a twin."""
    del module._parameters[name]
    setattr(module, name, value)


def _grid(side: int, stride: Grid, what: str) -> Grid:
    if side % stride[0] or side % stride[1] or side < max(stride):
        raise ExpertError(f"{what} takes pictures whose side is a multiple of {max(stride)} pixels, not {side}.")
    return side // stride[0], side // stride[1]


def _open_clip_transformer(visual: VisionTransformer, side: int) -> nn.Module:
    grid = _grid(side, visual.patch_size, "this transformer")
    other = twin(visual)
    positions = interpolate_positions(visual.positional_embedding, visual.grid_size, grid, prefix=1)
    _put(other, "positional_embedding", positions)
    other.grid_size, other.image_size, other.patch_dropout = grid, (side, side), nn.Identity()
    return cast(nn.Module, other)


def _open_clip_resnet(visual: ModifiedResNet, side: int) -> nn.Module:
    old = own_side(visual) // RESNET_STRIDE
    grid = _grid(side, (RESNET_STRIDE, RESNET_STRIDE), "this ResNet")
    other, pool = twin(visual), twin(visual.attnpool)
    _put(pool, "positional_embedding", interpolate_positions(pool.positional_embedding, (old, old), grid, prefix=1))
    other.attnpool, other.image_size = pool, side
    return cast(nn.Module, other)


def _timm_model(visual: TimmModel, side: int) -> nn.Module:
    other, old = twin(visual), own_side(visual)
    if isinstance(visual.trunk, TimmTransformer):
        other.trunk = _timm_transformer(visual.trunk, old, side)
    elif side != old and not (isinstance(visual.trunk, SIZE_FREE) and not hasattr(visual.head, "pool")):
        raise ExpertError(f"a {type(visual.trunk).__name__} takes pictures of {old} pixels alone, not {side}.")
    other.image_size = (side, side)
    return cast(nn.Module, other)


def _timm_transformer(trunk: Any, old: int, side: int) -> nn.Module:
    other = twin(trunk)
    other.patch_drop = nn.Identity()
    if side == old:
        return cast(nn.Module, other)
    if trunk.pos_embed is None:
        raise ExpertError(f"a {type(trunk).__name__} without a table of positions keeps to {old} pixels.")
    patches = twin(trunk.patch_embed)
    stride = tuple(length // count for length, count in zip(patches.img_size, patches.grid_size, strict=True))
    grid = _grid(side, stride, "this transformer")
    prefix = 0 if trunk.no_embed_class else trunk.num_prefix_tokens
    positions = interpolate_positions(trunk.pos_embed[0], patches.grid_size, grid, prefix)
    _put(other, "pos_embed", positions[None])
    patches.img_size, patches.grid_size, patches.num_patches = (side, side), grid, grid[0] * grid[1]
    other.patch_embed = patches
    return cast(nn.Module, other)
