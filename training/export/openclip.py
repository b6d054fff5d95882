"""Any OpenCLIP model, by name and pretrained tag, as a backbone."""

import math
from typing import Any

import open_clip
import torch
from huggingface_hub.utils import logging as hub_logging
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

from service.model_config import Interpolation, Preprocessing, ResizeMode
from training.export.backbone import Backbone
from training.export.errors import ExportError
from training.export.openclip_tokenizer import convert_tokenizer

RESIZE_MODES: dict[str, ResizeMode] = {"shortest": "shortest", "squash": "squash"}
# OpenCLIP's "random" is a matter of training only; it resizes by bicubic interpolation when it serves.
INTERPOLATIONS: dict[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """The gateway's form of `preprocess_cfg`. Raises `ExportError` for what the gateway cannot do."""
    config: dict[str, Any] = open_clip.get_model_preprocess_cfg(model)
    size = config["size"]
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if sides[0] != sides[1]:
        raise ExportError(f"This model takes images of {sides[0]} x {sides[1]} pixels; only square ones can be served.")
    resize_mode, interpolation = config.get("resize_mode", "shortest"), config.get("interpolation", "bicubic")
    if resize_mode not in RESIZE_MODES or interpolation not in INTERPOLATIONS:
        raise ExportError(f"Resize mode {resize_mode!r} with {interpolation!r} interpolation cannot be served.")
    return Preprocessing(
        image_size=int(sides[0]),
        resize_mode=RESIZE_MODES[resize_mode],
        interpolation=INTERPOLATIONS[interpolation],
        mean=_channels(config["mean"]),
        std=_channels(config["std"]),
    )


def _channels(values: Any) -> tuple[float, float, float]:
    red, green, blue = values if isinstance(values, (tuple, list)) else (values,) * 3
    return float(red), float(green), float(blue)


def load_openclip(name: str, tag: str, *, random_weights: bool = False, seed: int = 0) -> Backbone:
    """An OpenCLIP model as a backbone called `<name>-<tag>` in lower case (`<name>-random` for random weights).

    Raises `ExportError`, with one sentence for the user, for an unknown name or tag, for weights that cannot be
    downloaded, and for models that the model repository has no form for.
    """
    config = open_clip.get_model_config(name)
    if config is None:
        raise ExportError(f"OpenCLIP {open_clip.__version__} has no model called {name!r}.")
    tokenizer = _tokenizer_of(name, config)
    if random_weights:
        torch.manual_seed(seed)
        model = open_clip.create_model(name, pretrained=None, load_weights=False)
    else:
        model = _with_pretrained(name, tag, config)
    context_length = int(config["text_cfg"].get("context_length", 77))
    label = "random" if random_weights else tag
    return Backbone(
        name=f"{name}-{label}".lower().replace("/", "-").replace("_", "-"),
        family=family_of(config),
        model=model.eval(),
        preprocessing=preprocessing_of(model),
        tokenizer=convert_tokenizer(tokenizer, context_length),
        context_length=context_length,
        logit_scale=round(math.exp(float(model.logit_scale.detach())), 6),
        provenance=f"OpenCLIP {open_clip.__version__} {name}, "
        + (f"random weights, seed {seed}" if random_weights else f"pretrained tag {tag}")
        + "; python -m training export-openclip",
    )


def family_of(config: dict[str, Any]) -> str:
    """`vit`, `resnet`, or the first word of the timm model's name."""
    vision = config["vision_cfg"]
    trunk = vision.get("timm_model_name")
    if trunk:
        return str(trunk).split("_")[0].split("-")[0]
    return "resnet" if isinstance(vision.get("layers"), list) else "vit"


def _tokenizer_of(name: str, config: dict[str, Any]) -> SimpleTokenizer:
    text = config["text_cfg"]
    if text.get("hf_tokenizer_name") or text.get("hf_model_name"):
        raise ExportError(f"{name} uses a Hugging Face tokenizer; only OpenCLIP's own BPE vocabulary can be exported.")
    tokenizer = open_clip.get_tokenizer(name)
    if not isinstance(tokenizer, SimpleTokenizer) or text.get("tokenizer_kwargs"):
        raise ExportError(f"{name} uses another tokenizer than OpenCLIP's own BPE vocabulary; it cannot be exported.")
    return tokenizer


def _with_pretrained(name: str, tag: str, config: dict[str, Any]) -> nn.Module:
    pretrained = get_pretrained_cfg(name, tag)
    if not pretrained:
        known = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise ExportError(f"OpenCLIP has no weights tagged {tag!r} for {name}; known tags: {known}.")
    # OpenCLIP only warns here and computes with the wrong activation.
    if bool(pretrained.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = f"{name}-quickgelu" if pretrained.get("quick_gelu") else name.removesuffix("-quickgelu")
        raise ExportError(f"The weights {tag!r} were trained with another activation than {name}; use {other}.")
    # The hub retries for most of a minute without a network and logs each attempt; the sentence below says it all.
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the hub leaves it unannotated
    try:
        download_pretrained(pretrained)
    except Exception as error:  # the hub's and urllib's failures have no common base
        raise ExportError(
            f"The weights {tag!r} of {name} are not in the local cache and cannot be downloaded "
            f"({type(error).__name__}): connect to the network once, or pass --random-weights."
        ) from error
    model: nn.Module = open_clip.create_model(name, pretrained=tag)
    return model
