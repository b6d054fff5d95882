"""Batch normalisation that an export folded into convolutions, put back before a model learns again.

What is folded multiplies and adds by constants. A layer that multiplies by one and adds what was added gives the same
answers; its statistics, which matter as soon as it learns, are then measured on pictures and taken out of its factor
and offset again.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.export.errors import ExportError

FOLDED: Final = ("weight", "running_mean", "running_var")
"""Of a batch normalisation; its bias becomes the convolution's."""


def folded_names(model: nn.Module) -> frozenset[str]:
    """Names of the tensors that no graph holds by themselves."""
    return frozenset(f"{name}.{part}" for name, _ in batch_norms(model) for part in FOLDED)


def batch_norms(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """By name, in order."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            yield name, module


@torch.no_grad()
def make_neutral(model: nn.Module) -> dict[str, float]:
    """Let every batch normalisation multiply by one, exactly, and add its bias, in place; by name the `eps` that it
    had."""
    before = {name: norm.eps for name, norm in batch_norms(model)}
    for _, norm in batch_norms(model):
        norm.eps = 0.0
        norm.weight.fill_(1.0)
        norm.get_buffer("running_mean").zero_()
        norm.get_buffer("running_var").fill_(1.0)
    return before


@torch.no_grad()
def unfold(model: nn.Module, tower: nn.Module, batches: Iterable[Tensor], before: Mapping[str, float]) -> None:
    """Give neutral batch normalisations of `model` the statistics of what reaches them, answers unchanged. In place.

    tower: takes the batches, of whatever shape, through the model; before: what `make_neutral` gave. Raises
    `ExportError` where nothing reached a layer.
    """
    seen = {name: _Moments() for name in before}
    with ExitStack() as hooks:
        for name, norm in batch_norms(model):
            hooks.enter_context(norm.register_forward_pre_hook(seen[name].see))
        for batch in batches:
            tower(batch)
    for name, norm in batch_norms(model):
        mean, variance = seen[name].found()
        norm.eps = before[name]
        norm.get_buffer("running_mean").copy_(mean)
        norm.get_buffer("running_var").copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)


class _Moments:
    """Sums over everything but the channels, in double precision."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = self.squares = torch.zeros((), dtype=torch.float64)

    def see(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Of float32[n, channels, ...]."""
        values = inputs[0].transpose(0, 1).flatten(1).double()
        self.count += values.shape[1]
        self.sum, self.squares = self.sum + values.sum(1), self.squares + values.square().sum(1)

    def found(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of every channel."""
        if not self.count:
            raise ExportError("A batch normalisation saw no picture, so that its statistics are not known.")
        mean = self.sum / self.count
        return mean, (self.squares / self.count - mean.square()).clamp(min=0)
