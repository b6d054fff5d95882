"""One multi-task fine-tuning of a CLIP as a value."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from training.config import ConfigError, with_tuples
from training.data.augment import Augmentation
from training.experts.fitting.heads import Layers, Tasks
from training.experts.fitting.losses import DEPTH_FORMS, DepthForm, Weights


@dataclass(frozen=True, kw_only=True)
class FitSchedule:
    """Length and rates, by default those of the paper's table 7: the rate rises in a line from `first_lr` to `peak_lr`
    and falls by a cosine to `last_lr`. The paper does not name its optimiser; this is the zoo's, with its decay."""

    epochs: int = 30
    batch_size: int = 32
    warmup_steps: int = 1000
    first_lr: float = 1e-6
    peak_lr: float = 3e-5
    last_lr: float = 1e-6
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    grad_norm: float = 1.0
    max_logit_scale: float = 100.0
    checkpoint_steps: int = 200
    bf16: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.checkpoint_steps < 1 or self.warmup_steps < 0:
            raise ConfigError("a fit needs epochs >= 1, batch_size >= 2, checkpoint_steps >= 1 and warmup_steps >= 0")
        if min(self.first_lr, self.last_lr) < 0 or self.peak_lr <= 0 or self.max_logit_scale <= 1:
            raise ConfigError("a fit needs rates that are not negative, peak_lr > 0 and max_logit_scale > 1")

    def steps(self, pictures: int) -> tuple[int, int]:
        """Steps of an epoch, and of all; a set smaller than a batch is one batch."""
        per_epoch = max(1, pictures // self.batch_size)
        return per_epoch, per_epoch * self.epochs

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step; a warm-up longer than a quarter of all steps is cut to that."""
        warmup = min(self.warmup_steps, total // 4)
        if step < warmup:
            return self.first_lr + (self.peak_lr - self.first_lr) * step / warmup
        progress = (step - warmup) / max(1, total - 1 - warmup)
        return self.last_lr + (self.peak_lr - self.last_lr) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Everything that decides what a fit produces, given the data.

    backbone: what it starts from, for the record; classes: of the segmentation expert (0: there is none); weights:
    equation 1's factors, by which experts are switched off; layers: of a head; width: of the shared module, 0 for as
    wide as the map; sides: sizes of pictures in pixels, of which every step draws one; class_weights: how much the
    pixels of each class count, none for all alike; depth_form: see `losses.normalised_depth`.
    """

    backbone: str
    sides: tuple[int, ...]
    classes: int = 0
    weights: Weights = field(default_factory=Weights)
    layers: Layers = 1
    width: int = 0
    class_weights: tuple[float, ...] = ()
    depth_form: DepthForm = "median"
    seed: int = 0
    template_share: float = 0.5
    schedule: FitSchedule = field(default_factory=FitSchedule)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not self.sides or min(self.sides) < 1:
            raise ConfigError("a fit needs at least one size of pictures")
        if self.classes < 0 or (self.weights.classes > 0 and self.classes == 1):
            raise ConfigError("segmentation needs two classes at least, or none")
        if self.class_weights and len(self.class_weights) != self.classes:
            raise ConfigError(f"{len(self.class_weights)} class weights for {self.classes} classes")
        if self.layers not in (1, 3) or self.depth_form not in DEPTH_FORMS:
            raise ConfigError(f"heads have 1 or 3 layers, depth is one of {', '.join(DEPTH_FORMS)}")

    @property
    def tasks(self) -> Tasks:
        """The tasks that are switched on."""
        weights = self.weights
        return Tasks(self.classes if weights.classes > 0 else 0, weights.depth > 0, weights.normals > 0)

    def gives_the_same(self, other: "FitConfig") -> bool:
        """Whether both produce the same from the same weights: what these are called, and how often a checkpoint is
        kept, decides nothing."""
        schedule = replace(other.schedule, checkpoint_steps=self.schedule.checkpoint_steps)
        return replace(other, backbone=self.backbone, schedule=schedule) == self

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)


def parse_fit_config(table: Mapping[str, Any]) -> FitConfig:
    """Inverse of `FitConfig.to_dict`, also after JSON. Raises `ConfigError`."""
    values = with_tuples(table)
    try:
        values["weights"] = Weights(**values["weights"])
        values["schedule"] = FitSchedule(**with_tuples(values["schedule"]))
        values["augmentation"] = Augmentation(**with_tuples(values["augmentation"]))
        return FitConfig(**values)
    except ConfigError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"not the configuration of a fit: {error}") from error
