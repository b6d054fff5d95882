"""Models without trained weights, for tests and benchmarks of real architectures."""

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.models.tokenizer import train_tokenizer

PICTURES = 4
# Of a residual block's last normalisation. At 1 a deep random network is chaotic: a change of single grey levels turns
# the embedding as no trained network's would.
RESIDUAL_SCALE = 0.25


def stand_in_tokenizer(context_length: int) -> Tokenizer:
    """Bytes as tokens, of the right length: under random weights any ids are as good as others."""
    return train_tokenizer([], vocab_size=0, context_length=context_length)


@torch.no_grad()
def enliven(model: nn.Module, image_size: int) -> None:
    """Give batch normalisation statistics of its own and a scale other than zero, in place.

    As initialised, the last normalisation of every residual block in OpenCLIP's ResNets multiplies by zero, and running
    statistics are those of nothing: all pictures then share one embedding, and an exported graph whose blocks are wrong
    would go unnoticed. Models without batch normalisation are left as they are.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        if layer.affine and not layer.weight.any():
            nn.init.constant_(layer.weight, RESIDUAL_SCALE)
        layer.momentum = 1.0  # the statistics of this one batch
        layer.train()
    model.encode_image(_pictures(image_size))  # type: ignore[operator]  # OpenCLIP's models are not typed
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


def _pictures(size: int) -> torch.Tensor:
    """float32[n, 3, size, size]: noise, and smooth blobs, since real pictures are somewhere between."""
    noise = torch.randn(PICTURES // 2, 3, size, size)
    blobs = nn.functional.interpolate(torch.randn(PICTURES // 2, 3, 7, 7), size=size, mode="bicubic")
    return torch.cat([noise, blobs])
