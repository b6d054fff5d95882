"""One fit of an adapter as a value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from training.adapters.design import Design
from training.config import ConfigError, with_tuples
from training.data.augment import Augmentation


@dataclass(frozen=True, kw_only=True)
class AdaptSchedule:
    """Length and rates of a fit.

    From the paper: 5 epochs, batches of 256 pairs (128 for ViT-L/14). It leaves the rest to "the original finetuning
    configuration" of the backbone; for the zoo's towers that is how they were trained: AdamW, these betas and weight
    decay, warm-up and a cosine to zero, gradients cut at norm 1. The peak rate is left open and belongs to the design.
    Without a GPU `bf16` runs the towers under autocast as well. The logit scale stays the backbone's.
    """

    epochs: int = 5
    batch_size: int = 256
    peak_lr: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    grad_norm: float = 1.0
    checkpoint_steps: int = 100
    bf16: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.peak_lr <= 0 or self.checkpoint_steps < 1:
            raise ConfigError("a fit needs epochs >= 1, batch_size >= 2, peak_lr > 0 and checkpoint_steps >= 1")

    def steps(self, pictures: int) -> tuple[int, int]:
        """Steps of an epoch, and of all; a set smaller than a batch is one batch."""
        per_epoch = max(1, pictures // self.batch_size)
        return per_epoch, per_epoch * self.epochs


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """Everything that decides what a fit produces, given the data. `backbone`: a folder of a training run, or
    `NAME:TAG` of OpenCLIP; an empty list of `sources` stands for all that there are."""

    backbone: str
    design: Design
    sources: tuple[str, ...] = ()
    seed: int = 0
    template_share: float = 0.5
    schedule: AdaptSchedule = field(default_factory=AdaptSchedule)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self) | {"design": self.design.to_dict(), "sources": list(self.sources)}


def parse_adapt_config(table: Mapping[str, Any]) -> AdaptConfig:
    """Inverse of `AdaptConfig.to_dict`. Raises `ConfigError` and `AdapterError`."""
    values = dict(table)
    try:
        values["design"] = Design.from_dict(values["design"])
        values["sources"] = tuple(values["sources"])
        values["schedule"] = AdaptSchedule(**with_tuples(values["schedule"]))
        values["augmentation"] = Augmentation(**with_tuples(values["augmentation"]))
        return AdaptConfig(**values)
    except (KeyError, TypeError) as error:
        raise ConfigError(f"not the configuration of a fit: {error}") from error
