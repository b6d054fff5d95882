"""One training of an expert, with a folder of its own, which goes on where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from training.batches import epoch_order, step_generator
from training.checkpoint import CheckpointError, load_tensors, optimizer_tensors, restore_optimizer, save_tensors
from training.experts.fitting.terms import format_terms, plot_terms, start_terms
from training.experts.locks import alone
from training.experts.nets.config import NetConfig, NetSchedule, parse_net_config
from training.experts.nets.data import DenseSet, draw_batch
from training.experts.nets.network import DenseNet

CHECKPOINT: Final = "checkpoint.safetensors"
WEIGHTS: Final = "expert.safetensors"
CURVE: Final = "curve.csv"
PLOT: Final = "curve.png"


def new_net(config: NetConfig) -> DenseNet:
    """The network before its first step, drawn from the configuration's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return DenseNet(config.task.outputs(len(config.classes)), config.shape)


def make_optimizer(net: nn.Module, schedule: NetSchedule) -> torch.optim.AdamW:
    """AdamW; kernels decay, gains and biases do not."""
    kernels = [value for value in net.parameters() if value.ndim > 1]
    others = [value for value in net.parameters() if value.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.peak_lr, fused=True)


@dataclass
class NetRun:
    """The folder of one training: checkpoint, curve, and at the end the weights in half precision.

    stop_at leaves after that step, as a kill after a checkpoint would; device: of the network, not of the pictures.
    """

    config: NetConfig
    folder: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    show: Callable[[str], None] = lambda _: None
    stop_at: int | None = None
    net: DenseNet = field(init=False)
    optimizer: torch.optim.AdamW = field(init=False)
    step: int = field(init=False, default=0)
    seconds: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        net = new_net(self.config).to(self.device).to(memory_format=torch.channels_last)
        self.net = net.train()
        self.optimizer = make_optimizer(self.net, self.config.schedule)

    def run(self, dense: DenseSet) -> None:
        """Train from where the folder's checkpoint stands, or from the start.

        Raises `CheckpointError` if the folder holds another training, `ExpertError` if another process trains there,
        `FloatingPointError` if the loss is lost.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder, f"{self.folder}: another process trains here."):
            self._run(dense)

    def _run(self, dense: DenseSet) -> None:
        self._resume(dense)
        start_terms(self.folder / CURVE, before_step=self.step)
        with (self.folder / CURVE).open("a", encoding="utf-8", buffering=1) as curve:
            self._train(dense, curve)
        if self.step == self.config.schedule.steps(len(dense))[1]:
            weights = {name: value.half() for name, value in self.net.state_dict().items() if value.is_floating_point()}
            save_tensors(self.folder / WEIGHTS, weights, self._describe(dense))
            plot_terms(self.folder / CURVE, self.folder / PLOT, f"expert for {self.config.task}")

    def _train(self, dense: DenseSet, curve: IO[str]) -> None:
        schedule, seed = self.config.schedule, self.config.seed
        per_epoch, total = schedule.steps(len(dense))
        order, order_epoch = np.empty(0, np.int64), -1
        began = time.monotonic() - self.seconds
        balance = torch.tensor(self.config.class_weights, device=self.device) if self.config.class_weights else None
        while self.step < total:
            epoch, position = divmod(self.step, per_epoch)
            if epoch != order_epoch:
                order, order_epoch = epoch_order([""] * len(dense), {}, seed, epoch), epoch
            rows = order[position * schedule.batch_size :][: schedule.batch_size]
            generator = step_generator(seed, self.step)
            images, truth = draw_batch(dense, rows, self.config.augmentation, self.config.look, generator)
            loss = self._take_step(images.to(self.device), truth.to(self.device), balance, total)
            curve.write(format_terms(self.step, {str(self.config.task): loss}))
            self.step += 1
            self.seconds = time.monotonic() - began
            if self.step % 10 == 0 or self.step == total:
                self.show(f"step {self.step} of {total}, loss {loss:.3f}, {self.seconds:.0f} s")
            if self.step % schedule.checkpoint_steps == 0 or self.step in (total, self.stop_at):
                self._keep(dense)
            if self.step == self.stop_at:
                return

    def _take_step(self, images: Tensor, truth: Tensor, balance: Tensor | None, total: int) -> float:
        schedule = self.config.schedule
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=schedule.bf16):
            found = self.net(images)
        loss = self.config.task.loss(found.float(), truth, balance)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"{self.folder}: the loss is {loss.item()} at step {self.step}")
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.rate(self.step, total)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        nn.utils.clip_grad_norm_(self.net.parameters(), schedule.grad_norm)
        self.optimizer.step()
        return loss.item()

    def _keep(self, dense: DenseSet) -> None:
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        save_tensors(self.folder / CHECKPOINT, tensors, self._describe(dense))

    def _resume(self, dense: DenseSet) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        tensors, metadata = load_tensors(path)
        if metadata.get("kind") != "expert" or self._another(metadata, dense):
            raise CheckpointError(f"{path}: belongs to another training; remove it or choose another folder")
        self.net.load_state_dict(_part(tensors, "net."))
        restore_optimizer(self.optimizer, _part(tensors, "optimizer."))
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])

    def _another(self, metadata: dict[str, Any], dense: DenseSet) -> bool:
        return parse_net_config(metadata["config"]) != self.config or metadata["labels"] != _labels(dense)

    def _describe(self, dense: DenseSet) -> dict[str, Any]:
        """What the files say of themselves."""
        return {
            "kind": "expert",
            "config": self.config.to_dict(),
            "labels": _labels(dense),
            "step": self.step,
            "seconds": round(self.seconds, 1),
        }


def _labels(dense: DenseSet) -> dict[str, Any]:
    """Which pictures and labels these are."""
    identity = dense.identity
    return {"pictures": len(dense), "first": dense.digests[0], "version": identity.version, "digest": identity.digest}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
