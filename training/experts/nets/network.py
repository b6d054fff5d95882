"""The small network that the experts trained here share: an encoder of timm's and a decoder that gives every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 32
"""Sides of pictures are multiples of this."""

MEAN, SPREAD = 0.45, 0.25
"""Of the channels of pictures in 0..1, roughly."""


@dataclass(frozen=True)
class NetShape:
    """Widths of a network. stem: channels of the first convolution; stages: of the encoder's four stages, at strides 4
    to 32; blocks: residual blocks of each; decoder: channels at strides 16 to 2."""

    stem: int = 16
    stages: tuple[int, int, int, int] = (32, 64, 96, 128)
    blocks: tuple[int, int, int, int] = (1, 2, 2, 1)
    decoder: tuple[int, int, int, int] = (96, 64, 32, 24)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class DenseNet(nn.Module):
    """Pictures to `outputs` numbers for each pixel, 1.1 M parameters in its default shape.

    The decoder is a U-Net's (Ronneberger et al. 2015): what is known at a coarse stride is brought to the next finer
    one and put beside what the encoder saw there. torchvision's decoders (DeepLab, LR-ASPP) stop at stride 8, which at
    96 pixels is a map of 12 by 12, and its feature pyramid spends half of its convolutions on maps that nothing reads;
    timm has none. The last step, from stride 2 to pixels, is linear.
    """

    def __init__(self, outputs: int, shape: NetShape | None = None) -> None:
        super().__init__()
        shape = shape or NetShape()
        self.encoder = ResNet(
            BasicBlock,  # type: ignore[arg-type]  # timm annotates the class as if it were an instance
            shape.blocks,
            num_classes=0,
            channels=shape.stages,
            stem_width=shape.stem,
            stem_type="deep_tiered",
            avg_down=True,
        )
        del self.encoder.global_pool, self.encoder.fc
        skips = (2 * shape.stem, *shape.stages)  # timm's deep stem ends in twice its width
        inputs = skips[-1]
        self.decoder = nn.ModuleList()
        for skip, width in zip(skips[-2::-1], shape.decoder, strict=True):
            self.decoder.append(_convolution(inputs + skip, width))
            inputs = width
        self.head = nn.Conv2d(inputs, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """float32[n, 3, h, w] in 0..1, sides multiples of `STRIDE`, to float32[n, outputs, h, w]."""
        places = self._encode((images - MEAN) / SPREAD)
        found = places.pop()
        for step, skip in zip(self.decoder, reversed(places), strict=True):
            wider = functional.interpolate(found, size=skip.shape[-2:], mode="bilinear")
            found = step(torch.cat([wider, skip], dim=1))
        with torch.autocast(images.device.type, enabled=False):  # eight bits of mantissa are steps in a smooth depth
            return functional.interpolate(self.head(found.float()), size=images.shape[-2:], mode="bilinear")

    def _encode(self, images: Tensor) -> list[Tensor]:
        """Maps at strides 2, 4, 8, 16 and 32."""
        found = images
        places = []
        for names in (("conv1", "bn1", "act1"), ("maxpool", "layer1"), ("layer2",), ("layer3",), ("layer4",)):
            for name in names:
                found = self.encoder.get_submodule(name)(found)
            places.append(found)
        return places
