"""The two towers of a CLIP as they are served: raw bytes or ids in, unit-length embeddings out."""

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.augment import soften


class TwoTower(Protocol):
    """What OpenCLIP's model classes have in common."""

    def encode_image(self, image: Tensor) -> Tensor:
        """float32[n, 3, h, w], normalised -> float32[n, d]."""

    def encode_text(self, text: Tensor) -> Tensor:
        """int64[n, L] -> float32[n, d]."""


class ImageTower(nn.Module):
    """uint8[n, h, w, 3] RGB to unit rows float32[n, d]. Normalisation by mean and std (0..1 units) happens inside.

    With `softened` pictures are first made as soft as those that the tower was trained on.
    """

    gain: Tensor
    offset: Tensor

    def __init__(
        self, model: nn.Module, mean: Sequence[float], std: Sequence[float], *, softened: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.softened = softened
        # (x / 255 - mean) / std as one multiplication and one addition per pixel.
        self.register_buffer("gain", (1 / (255 * torch.tensor(std))).view(1, 3, 1, 1))
        self.register_buffer("offset", (-torch.tensor(mean) / torch.tensor(std)).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """image: uint8[n, h, w, 3] -> embedding: float32[n, d]."""
        pixels = image.permute(0, 3, 1, 2).float() * self.gain + self.offset
        if self.softened:
            pixels = soften(pixels)
        return functional.normalize(cast(TwoTower, self.model).encode_image(pixels), dim=-1)


class TextTower(nn.Module):
    """int64[n, L] token ids to unit rows float32[n, d]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids: int64[n, L] -> embedding: float32[n, d]."""
        return functional.normalize(cast(TwoTower, self.model).encode_text(input_ids), dim=-1)
