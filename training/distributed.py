"""Several processes at work on one batch, as `torchrun` starts them: together they take the steps of one process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather, all_reduce

# The kinds that would quietly normalise over one process's images only.
PLAIN_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class World:
    """Which of how many processes this is; with a `size` of one nothing is communicated."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def part(self, n: int) -> slice:
        """This process's share of a batch of `n`. Raises `ValueError` if it cannot be shared out evenly."""
        if n % self.size:
            raise ValueError(f"a batch of {n} cannot be shared out among {self.size} processes")
        share = n // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, rows: Tensor) -> Tensor:
        """Everybody's rows in order of rank: [n / size, d] to [n, d]. Gradients flow back to whoever made a row."""
        return rows if self.size == 1 else torch.cat(all_gather(rows.contiguous()))  # type: ignore[no-untyped-call]  # torch's

    def wait(self) -> None:
        """Until everybody is here."""
        if self.size > 1:
            dist.barrier()

    def average(self, values: Tensor) -> Tensor:
        """The mean of everybody's values, of the same shape; no gradient flows."""
        if self.size == 1:
            return values.detach()
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.size

    def average_gradients(self, model: nn.Module) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size == 1:
            return
        for parameter in model.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.size


@contextmanager
def world() -> Iterator[World]:
    """The processes that `torchrun` started together, this one alone without it."""
    if "WORLD_SIZE" not in os.environ:
        yield World()
        return
    # Each of two backends for what lies where it works.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """`device` for this process: of several GPUs each process on a machine takes its own."""
    if str(device) != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(own)
    return own


class SharedBatchNormAct(BatchNormAct2d):
    """timm's batch norm with activation, statistics taken over all processes' images (torch's own needs a GPU)."""

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w], normalised by the mean and variance of the whole batch while training."""
        if not self.training:
            return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]  # timm's
        values = x.float()
        sums = torch.stack([values.sum(dim=(0, 2, 3)), values.square().sum(dim=(0, 2, 3))])
        count = values.numel() / values.shape[1] * dist.get_world_size()
        mean, square = all_reduce(sums) / count  # type: ignore[no-untyped-call]  # torch's
        variance = square - mean.square()
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shifted = values * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]
        return cast(Tensor, self.act(self.drop(shifted.to(x.dtype))))

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """What the norm uses when it does not train."""
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise ValueError("a batch norm without running statistics cannot be shared among processes")
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def share_batch_statistics(model: nn.Module, world: World) -> None:
    """Make every batch norm of `model` normalise over all processes. Raises `ValueError` for an unknown kind."""
    if world.size == 1:
        return
    for name, module in model.named_modules():
        if type(module) is BatchNormAct2d:
            module.__class__ = SharedBatchNormAct
        elif isinstance(module, PLAIN_BATCH_NORMS):
            raise ValueError(f"{name}: a {type(module).__name__} cannot be shared among processes")
