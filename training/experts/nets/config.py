"""The training of an expert as a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from training.config import ConfigError, with_tuples
from training.data.augment import Augmentation
from training.experts.nets.data import Look
from training.experts.nets.network import STRIDE, NetShape
from training.experts.nets.tasks import Task
from training.rates import warm_cosine

LAST_SHARE: Final = 0.01
"""Of the peak rate, at the end."""


@dataclass(frozen=True, kw_only=True)
class NetSchedule:
    """Length and rates: the rate rises in a line to `peak_lr` and falls by a cosine to nearly nothing."""

    epochs: int = 16
    batch_size: int = 32
    warmup_steps: int = 100
    peak_lr: float = 2e-3
    weight_decay: float = 0.05
    grad_norm: float = 1.0
    checkpoint_steps: int = 50
    bf16: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.checkpoint_steps < 1 or self.warmup_steps < 0:
            raise ConfigError("an expert needs epochs >= 1, batch_size >= 2, checkpoint_steps >= 1, warmup_steps >= 0")
        if not 0 < self.peak_lr < math.inf or self.grad_norm <= 0 or self.weight_decay < 0:
            raise ConfigError("an expert needs peak_lr > 0, grad_norm > 0 and a weight_decay that is not negative")

    def steps(self, pictures: int) -> tuple[int, int]:
        """Steps of an epoch, and of all; a set smaller than a batch is one batch."""
        per_epoch = max(1, pictures // self.batch_size)
        return per_epoch, per_epoch * self.epochs

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step; a warm-up longer than a quarter of all steps is cut to that."""
        return warm_cosine(step, total, peak=self.peak_lr, warmup_steps=self.warmup_steps, floor=LAST_SHARE)


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """Everything that decides an expert, given the data. side: of the pictures in pixels; classes: names, for an expert
    of classes; class_weights: how much the pixels of each count."""

    task: Task
    source: str
    side: int
    classes: tuple[str, ...] = ()
    class_weights: tuple[float, ...] = ()
    seed: int = 0
    shape: NetShape = field(default_factory=NetShape)
    schedule: NetSchedule = field(default_factory=NetSchedule)
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(scale=(0.4, 1.1), contrast=0.4, brightness=0.35, saturation=0.5)
    )
    look: Look = field(default_factory=Look)

    def __post_init__(self) -> None:
        if self.side < STRIDE or self.side % STRIDE:
            raise ConfigError(f"pictures of {self.side} pixels; experts are trained on multiples of {STRIDE}")
        if (self.task is Task.CLASSES) is not bool(self.classes) or len(self.class_weights) not in (
            0,
            len(self.classes),
        ):
            raise ConfigError(f"an expert of {self.task} with {len(self.classes)} classes")

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {**asdict(self), "task": str(self.task)}


def parse_net_config(table: Mapping[str, Any]) -> NetConfig:
    """Inverse of `NetConfig.to_dict`, also after JSON. Raises `ConfigError`."""
    values = with_tuples(table)
    try:
        values["task"] = Task(values["task"])
        for name, kind in (
            ("shape", NetShape),
            ("schedule", NetSchedule),
            ("augmentation", Augmentation),
            ("look", Look),
        ):
            values[name] = kind(**with_tuples(values[name]))
        return NetConfig(**values)
    except ConfigError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"not the configuration of an expert: {error}") from error
