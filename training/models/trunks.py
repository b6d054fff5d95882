"""Image trunks in the zoo's own widths, registered with timm under names that start with `quorum_`.

OpenCLIP builds an image tower around any timm model by its name; these are the names in `zoo/*.json`.
"""

from functools import partial
from typing import Any

from timm.layers.hybrid_embed import HybridEmbed
from timm.models import register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.convnext import ConvNeXt
from timm.models.mlp_mixer import MlpMixer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

__all__: list[str] = []


def _default_cfg(first_conv: str, side: int) -> dict[str, Any]:
    return {"input_size": (3, side, side), "pool_size": (2, 2), "first_conv": first_conv, "classifier": "head.fc"}


def _build(model: nn.Module, first_conv: str, side: int = 64) -> nn.Module:
    model.default_cfg = _default_cfg(first_conv, side)  # type: ignore[assignment]  # a plain attribute that timm reads
    return model


def _residual(widths: tuple[tuple[int, int], ...], **kwargs: Any) -> ByobNet:
    """A residual CNN of basic blocks; `widths`: (channels, blocks) of each stage, every stage halving the map."""
    blocks = tuple(ByoBlockCfg(type="basic", d=depth, c=width, s=2, gs=0, br=1.0) for width, depth in widths)
    cfg = ByoModelCfg(blocks=blocks, stem_chs=32, stem_type="3x3", stem_pool="", act_layer="relu")
    return ByobNet(cfg, **kwargs)


# OpenCLIP hands `pretrained` and timm's configuration arguments to every trunk; a trunk of our own has none of them.
def _own(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key in ("drop_path_rate", "num_classes", "global_pool")}


@register_model
def quorum_convnext_s(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ARG001 - timm's signature
    """ConvNeXt of about 0.66 M parameters: 64 pixels give maps of 16, 8, 4 and 2."""
    # Layer scale at ConvNeXt's 1e-6 would leave blocks idle for most of so short a training.
    model = ConvNeXt(depths=(1, 1, 2, 1), dims=(32, 64, 128, 160), ls_init_value=1e-1, conv_mlp=True, **_own(kwargs))
    return _build(model, "stem.0")


@register_model
def quorum_resnet_l(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ARG001 - timm's signature
    """Residual CNN of about 2.8 M parameters: maps of 32 after the stem, then 16, 8 and 4.

    Widths are multiples of 64: others cost as much time on a CPU and hold less.
    """
    return _build(_residual(((64, 2), (128, 2), (256, 2)), **_own(kwargs)), "stem.conv")


@register_model
def quorum_hybrid_m(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ARG001 - timm's signature
    """Hybrid: a residual CNN down to maps of 8, whose 64 places are the tokens of three transformer blocks."""
    trunk = _residual(((64, 1), (128, 2)), num_classes=0, global_pool="")
    embed = partial(HybridEmbed, backbone=trunk, proj=True)
    model = VisionTransformer(
        img_size=64,
        patch_size=1,
        embed_dim=192,
        depth=3,
        num_heads=3,
        mlp_ratio=3.0,
        class_token=False,
        global_pool="avg",
        embed_layer=embed,
        num_classes=0,
        drop_path_rate=kwargs.get("drop_path_rate") or 0.0,
    )
    return _build(model, "patch_embed.backbone.stem.conv")


@register_model
def quorum_mixer_n(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ARG001 - timm's signature
    """MLP-Mixer on 32 pixels: 16 patches of 8, four blocks of width 96. The cheapest of all."""
    model = MlpMixer(img_size=32, patch_size=8, num_blocks=4, embed_dim=96, mlp_ratio=(2.0, 3.0), **_own(kwargs))
    return _build(model, "stem.proj", side=32)
