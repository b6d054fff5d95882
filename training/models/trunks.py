"""Image trunks in the zoo's own widths, registered with timm under names that start with `quorum_`.

OpenCLIP builds an image tower around any timm model by its name; these are the names in `zoo/*.json`.
"""

from typing import Any

from timm.models import register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.convnext import ConvNeXt
from torch import nn

__all__: list[str] = []


def _default_cfg(first_conv: str) -> dict[str, Any]:
    return {"input_size": (3, 64, 64), "pool_size": (2, 2), "first_conv": first_conv, "classifier": "head.fc"}


def _build(model: nn.Module, first_conv: str) -> nn.Module:
    model.default_cfg = _default_cfg(first_conv)  # type: ignore[assignment]  # a plain attribute that timm reads
    return model


# OpenCLIP hands `pretrained` and timm's configuration arguments to every trunk; a trunk of our own has none of them.
def _own(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key in ("drop_path_rate", "num_classes", "global_pool")}


@register_model
def quorum_convnext_t(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ARG001 - timm's signature
    """ConvNeXt of about 0.66 M parameters: 64 pixels give maps of 16, 8, 4 and 2."""
    # Layer scale at ConvNeXt's 1e-6 would leave blocks idle for most of so short a training.
    model = ConvNeXt(depths=(1, 1, 2, 1), dims=(32, 64, 128, 160), ls_init_value=1e-1, conv_mlp=True, **_own(kwargs))
    return _build(model, "stem.0")


@register_model
def quorum_resnet_m(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ARG001 - timm's signature
    """Residual CNN of basic blocks, about 1.6 M parameters: maps of 32 after the stem, then 16, 8 and 4."""
    widths = ((64, 2), (128, 2), (160, 2))
    blocks = tuple(ByoBlockCfg(type="basic", d=2, c=width, s=stride, gs=0, br=1.0) for width, stride in widths)
    cfg = ByoModelCfg(blocks=blocks, stem_chs=32, stem_type="3x3", stem_pool="", act_layer="relu")
    return _build(ByobNet(cfg, **_own(kwargs)), "stem.conv")
