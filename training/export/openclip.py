"""Any OpenCLIP model, by name and pretrained tag, as a backbone."""

import math
from typing import Any

import open_clip
import torch
from huggingface_hub.utils import logging as hub_logging
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Tokenizer
from torch import nn

from service.model_config import Interpolation, Preprocessing, ResizeMode
from training.export.backbone import Backbone
from training.export.errors import ExportError
from training.export.hf_tokenizer import convert_hf_tokenizer, load_hf_tokenizer
from training.export.openclip_tokenizer import convert_tokenizer
from training.export.random_weights import enliven, stand_in_tokenizer
from training.models.quiet import only_errors

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


def backbone_name(name: str, tag: str | None, *, random_weights: bool) -> str:
    """`<name>-<tag>` in lower case; random weights are said at the end."""
    parts = (name, tag, "random" if random_weights else None)
    return "-".join(part for part in parts if part).lower().replace("/", "-").replace("_", "-")


def check_openclip(name: str, tag: str | None, *, random_weights: bool) -> None:
    """Refuse, before any work, what could only fail later or compute nonsense.

    Raises `ExportError`, with one sentence for the user, for an unknown name or tag, for weights that belong to
    another activation, and for models that the model repository has no form for.
    """
    config = _config_of(name)
    if config["text_cfg"].get("hf_model_name"):
        raise ExportError(f"{name} has a Hugging Face text tower; only OpenCLIP's own text towers can be exported.")
    if tag is None and random_weights:
        return
    known = ", ".join(list_pretrained_tags_by_model(name)) or "none"
    if tag is None:
        raise ExportError(f'{name} needs the tag of its weights, as {name}:TAG or as "pretrained"; known: {known}.')
    pretrained = get_pretrained_cfg(name, tag)
    if not pretrained:
        raise ExportError(f"OpenCLIP has no weights tagged {tag!r} for {name}; known tags: {known}.")
    # OpenCLIP only warns here and computes with the wrong activation.
    if not random_weights and bool(pretrained.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = f"{name}-quickgelu" if pretrained.get("quick_gelu") else name.removesuffix("-quickgelu")
        raise ExportError(f"The weights {tag!r} were trained with another activation than {name}; use {other}.")


def _config_of(name: str) -> dict[str, Any]:
    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        raise ExportError(f"OpenCLIP {open_clip.__version__} has no model called {name!r}.")
    return config


def load_openclip(name: str, tag: str | None, *, random_weights: bool = False, seed: int = 0) -> Backbone:
    """An OpenCLIP model as a backbone called as `backbone_name` says.

    Random weights need no tag; with one, pictures are preprocessed as its weights would want it. SigLIP's logit bias
    is left behind: it adds the same to every class, which no softmax sees.

    Raises `ExportError` as `check_openclip` does, and for files that cannot be downloaded.
    """
    check_openclip(name, tag, random_weights=random_weights)
    config = _config_of(name)
    context_length = int(config["text_cfg"].get("context_length", 77))
    # First of all, since it is small and may be missing.
    tokenizer, remark = _tokenizer_of(name, config["text_cfg"], context_length, random_weights=random_weights)
    if random_weights or tag is None:  # without a tag there is nothing else, says the check above
        model, origin = _with_random_weights(name, tag, seed), f"random weights, seed {seed}"
    else:
        model, origin = _with_pretrained(name, tag), f"pretrained tag {tag} ({_source_of(name, tag)})"
    return Backbone(
        name=backbone_name(name, tag, random_weights=random_weights),
        family=family_of(config),
        model=model.eval(),
        preprocessing=preprocessing_of(model),
        tokenizer=tokenizer,
        context_length=context_length,
        logit_scale=round(math.exp(float(model.logit_scale.detach())), 6),  # type: ignore[operator]  # OpenCLIP's models are not typed
        provenance=f"OpenCLIP {open_clip.__version__} {name}, {origin}{remark}",
    )


def family_of(config: dict[str, Any]) -> str:
    """`vit`, `resnet`, or the first word of the timm model's name."""
    vision = config["vision_cfg"]
    trunk = vision.get("timm_model_name")
    if trunk:
        return str(trunk).split("_")[0].split("-")[0]
    return "resnet" if isinstance(vision.get("layers"), list) else "vit"


def _tokenizer_of(
    name: str, text_config: dict[str, Any], context_length: int, *, random_weights: bool
) -> tuple[Tokenizer, str]:
    """The tokenizer, and what its provenance has to say besides the model's."""
    if text_config.get("hf_tokenizer_name"):
        try:
            source = load_hf_tokenizer(name, local_only=random_weights)
        except ExportError:
            if not random_weights:
                raise
            return stand_in_tokenizer(context_length), ", a stand-in for the tokenizer"
        return convert_hf_tokenizer(source, text_config, context_length), ""
    source = open_clip.get_tokenizer(name)
    if not isinstance(source, SimpleTokenizer) or text_config.get("tokenizer_kwargs"):
        raise ExportError(f"{name} uses a tokenizer that has no form in a tokenizer file; it cannot be exported.")
    return convert_tokenizer(source, context_length), ""


def _with_random_weights(name: str, tag: str | None, seed: int) -> nn.Module:
    wanted = {key: value for key, value in (get_pretrained_cfg(name, tag) if tag else {}).items() if key != "size"}
    torch.manual_seed(seed)
    with only_errors():  # OpenCLIP warns of random weights
        model: nn.Module = open_clip.create_model(
            name, pretrained=None, load_weights=False, force_preprocess_cfg=wanted or None
        )
    enliven(model.eval(), preprocessing_of(model).image_size)
    return model


def _source_of(name: str, tag: str) -> str:
    pretrained = get_pretrained_cfg(name, tag)
    hub = str(pretrained.get("hf_hub", "")).strip("/")
    return f"https://huggingface.co/{hub}" if hub else str(pretrained.get("url", "of unknown origin"))


def _with_pretrained(name: str, tag: str) -> nn.Module:
    # The hub retries for most of a minute without a network and logs each attempt; the sentence below says it all.
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the hub leaves it unannotated
    try:
        download_pretrained(get_pretrained_cfg(name, tag))
    except Exception as error:  # the hub's and urllib's failures have no common base
        raise ExportError(
            f"The weights {tag!r} of {name} are not in the local cache and cannot be downloaded "
            f"({type(error).__name__}): connect to the network once, or pass --random-weights."
        ) from error
    try:
        model: nn.Module = open_clip.create_model(name, pretrained=tag)
    except Exception as error:  # those of torch, safetensors and zip files have none either
        raise ExportError(
            f"The weights {tag!r} of {name} cannot be loaded ({type(error).__name__}): delete them from the cache."
        ) from error
    return model
