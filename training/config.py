"""One training run as a value: read from TOML, every key known, every value in range."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from training.data.augment import Augmentation
from training.data.splits import RESERVED_SOURCES


class ConfigError(ValueError):
    """A run's configuration cannot be used; the message names the file and the key."""


@dataclass(frozen=True)
class DataConfig:
    """`sources` and how often each is seen per epoch: a weight of 2 shows every image of a source twice."""

    sources: tuple[str, ...]
    source_weights: dict[str, float] = field(default_factory=dict)
    template_share: float = 0.5

    def __post_init__(self) -> None:
        reserved = RESERVED_SOURCES & set(self.sources)
        if reserved:
            raise ConfigError(f"data.sources: {', '.join(sorted(reserved))} is reserved and trains no tower")
        if not set(self.source_weights) <= set(self.sources) or min(self.source_weights.values(), default=1.0) <= 0:
            raise ConfigError("data.source_weights: positive numbers for names in data.sources, nothing else")


@dataclass(frozen=True)
class ScheduleConfig:
    """Length and rates of a run; the rate rises for `warmup_steps`, then falls by a cosine to zero.

    `small_side`: pixels to which images are reduced for the first `small_share` of the steps (0: never). Convolutional
    towers learn most of what they will know there, at half the cost.
    """

    epochs: int
    peak_lr: float
    batch_size: int = 256
    warmup_steps: int = 200
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    grad_norm: float = 1.0
    ema_decay: float = 0.998
    max_logit_scale: float = 60.0
    checkpoint_steps: int = 200
    bf16: bool = True
    small_side: int = 0
    small_share: float = 0.6

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.peak_lr <= 0 or not 0 <= self.ema_decay < 1:
            raise ConfigError("schedule: epochs >= 1, batch_size >= 2, peak_lr > 0 and 0 <= ema_decay < 1 are needed")
        if self.small_side < 0 or not 0 <= self.small_share <= 1:
            raise ConfigError("schedule: small_side >= 0 and 0 <= small_share <= 1 are needed")

    def image_side(self, step: int, total_steps: int) -> int | None:
        """Side to which the images of `step` are reduced, in pixels; None: as they are."""
        return self.small_side if self.small_side and step < self.small_share * total_steps else None


@dataclass(frozen=True)
class TextConfig:
    """Where the text tower starts: `init` names the folder of a run of `python -m training distil` (empty: at random),
    whose tokenizer is taken with it. Its rates are `lr_factor` times those of the image tower."""

    init: str = ""
    lr_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.lr_factor < 0:
            raise ConfigError("text.lr_factor must not be negative")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run produces, given the data."""

    name: str
    family: str
    model: str
    seed: int
    data: DataConfig
    schedule: ScheduleConfig
    text: TextConfig = field(default_factory=TextConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)


T = TypeVar("T")


def with_tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table out of TOML or JSON, whose lists are the tuples that a configuration holds."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _build(kind: type[T], table: dict[str, Any], where: str) -> T:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]  # every caller passes a dataclass
    unknown = set(table) - known
    if unknown:
        raise ConfigError(f"{where}: unknown key {', '.join(sorted(unknown))}")
    try:
        return kind(**with_tuples(table))
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def parse_config(table: dict[str, Any], where: str) -> RunConfig:
    """A run from a TOML table. Raises `ConfigError` for unknown or missing keys and for values out of range."""
    parts = {"data": DataConfig, "schedule": ScheduleConfig, "text": TextConfig, "augmentation": Augmentation}
    values = dict(table)
    for key, kind in parts.items():
        if key in values:
            values[key] = _build(kind, values[key], f"{where}: [{key}]")
    return _build(RunConfig, values, where)


def load_config(path: Path) -> RunConfig:
    """The run in a TOML file. Raises `ConfigError` when it is missing, not TOML, or not a run."""
    try:
        return parse_config(tomllib.loads(path.read_text("utf-8")), str(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
