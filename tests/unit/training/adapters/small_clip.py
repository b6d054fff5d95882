"""Small CLIPs of OpenCLIP's own classes, and inputs for them."""

from __future__ import annotations

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from torch import Tensor, nn

EMBEDDING, IMAGE, CONTEXT, VOCABULARY, END = 12, 16, 10, 40, 2
VISION: dict[str, object] = {"image_size": IMAGE, "layers": 2, "width": 16, "head_width": 8, "patch_size": 4}
TEXT: dict[str, object] = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 8, "heads": 2, "layers": 2}
TEXT |= {"pool_type": "eos", "eos_id": END}


def small_clip(
    *, seed: int = 0, vision: dict[str, object] | None = None, text: dict[str, object] | None = None
) -> CLIP:
    """Two blocks per tower; widths 16 and 8; a grid of 4 x 4 patches; ten tokens. Biases are not zero."""
    torch.manual_seed(seed)
    return _lively(CLIP(EMBEDDING, CLIPVisionCfg(**(VISION | (vision or {}))), CLIPTextCfg(**(TEXT | (text or {})))))


def small_custom_clip(**text: object) -> CustomTextCLIP:
    """The same with its text tower as a module of its own."""
    torch.manual_seed(0)
    clip: CustomTextCLIP = CustomTextCLIP(EMBEDDING, CLIPVisionCfg(**VISION), CLIPTextCfg(**(TEXT | text)))
    return _lively(clip)


def _lively(clip: nn.Module) -> nn.Module:
    """Weights large enough that attention is not uniform, and no bias of zero: mistakes would not show."""
    with torch.no_grad():
        for name, parameter in clip.named_parameters():
            if parameter.ndim == 1 and "ln" not in name:
                parameter.normal_(std=0.2)
            elif "in_proj_weight" in name:
                parameter.normal_(std=0.5)
    return clip


def pictures(n: int = 3) -> Tensor:
    """float32[n, 3, 16, 16]."""
    return torch.randn(n, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(1))


def token_ids(n: int = 3) -> Tensor:
    """int64[n, 10]: texts of different lengths that end with the end token, then padding."""
    ids = torch.randint(3, VOCABULARY, (n, CONTEXT), generator=torch.Generator().manual_seed(2))
    for row, length in zip(ids, range(4, 4 + n), strict=True):
        row[length], row[length + 1 :] = END, 0
    return ids


@torch.no_grad()
def embed(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Unit embeddings of the pictures and of the texts."""
    image, text = model.encode_image(pictures()), model.encode_text(token_ids())  # type: ignore[operator]  # untyped
    return nn.functional.normalize(image, dim=-1), nn.functional.normalize(text, dim=-1)


@torch.no_grad()
def stir(parameters: list[nn.Parameter], std: float = 0.1) -> None:
    """Values far from the start: what near-identity hides then shows."""
    generator = torch.Generator().manual_seed(3)
    for parameter in parameters:
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
