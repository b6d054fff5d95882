"""`python -m training adapt`: one adapter, fitted on data, with a folder of its own."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import torch
from torch import Tensor

from training.adapters.adapt import ALONE, FitState, fit, make_optimizer
from training.adapters.adapt_config import AdaptConfig, parse_adapt_config
from training.adapters.attach import attach
from training.adapters.design import Design
from training.adapters.pairs import Pairs, pairs_of_samples
from training.checkpoint import CheckpointError, load_tensors, optimizer_tensors, restore_optimizer, save_tensors
from training.config import ConfigError
from training.curve import format_row, plot_curve, start_curve
from training.data.samples import load_samples
from training.data.sources import DataDirs, available_sources
from training.data.splits import Split
from training.distributed import World
from training.export.backbone import Backbone
from training.export.openclip import load_openclip
from training.export.recipe import RunMember, members_of
from training.export.run import load_run
from training.models.towers import MEAN, STD

CHECKPOINT: Final = "checkpoint.safetensors"
ADAPTER: Final = "adapter.safetensors"
CURVE: Final = "curve.csv"
PLOT: Final = "curve.png"


def load_backbone(target: str) -> Backbone:
    """A folder of a training run, or `NAME:TAG` of OpenCLIP with its weights.

    Raises `ExportError` for what cannot be loaded, `ConfigError` for pictures that are normalised otherwise than the
    zoo's.
    """
    (member,) = members_of(target, None)
    loaded = (
        load_run(member.run) if isinstance(member, RunMember) else load_openclip(member.openclip, member.pretrained)
    )
    if (loaded.preprocessing.mean, loaded.preprocessing.std) != (MEAN, STD):
        raise ConfigError(
            f"{target} normalises its pictures otherwise than OpenAI's models; adapters know no other way."
        )
    return loaded


def load_pairs(backbone: Backbone, data: DataDirs, sources: Sequence[str], device: torch.device) -> Pairs:
    """The `fit` rows of `sources` (of all that there are, if empty), as the backbone takes them. Raises `DataError`."""
    wanted = sources or available_sources(data)
    samples = load_samples(data, Split.FIT, wanted, backbone.preprocessing)
    return pairs_of_samples(samples, backbone.tokenizer, device)


@dataclass
class AdaptRun:
    """The folder of one fit. Of several processes only the first one writes and shows anything."""

    config: AdaptConfig
    folder: Path
    state: FitState
    total: int
    pictures: int
    world: World = ALONE
    stop_at: int | None = None
    show: Callable[[str], None] = lambda _: None
    seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _curve: IO[str] | None = None

    def run(self, pairs: Pairs) -> None:
        """Fit from where the folder's checkpoint stands, or from the start; leave the adapter and the curve there.

        Raises `CheckpointError` if the folder holds another fit, `FloatingPointError` if the loss is lost.
        """
        self._resume()
        if self.world.leads:
            self.folder.mkdir(parents=True, exist_ok=True)
            start_curve(self.folder / CURVE, before_step=self.state.step)
            self._curve = (self.folder / CURVE).open("a", encoding="utf-8", buffering=1)
        try:
            fit(self.state, pairs, self.config, self._hear, self.world)
        finally:
            if self._curve:
                self._curve.close()
        if self.world.leads and self.state.step == self.total:
            save_tensors(self.folder / ADAPTER, self.state.adapted.adapter_state(), self._describe())
            plot_curve(self.folder / CURVE, self.folder / PLOT, self.config.design.name)

    def _hear(self, state: FitState, loss: float, rate: float) -> bool:
        self.seconds = time.monotonic() - self._began
        if self._curve:
            scale = state.adapted.logit_scale.exp().item()
            self._curve.write(format_row(state.step - 1, loss, rate, scale, self.seconds))
        if state.step % 10 == 0 or state.step == self.total:
            self.show(f"step {state.step} of {self.total}, loss {loss:.3f}, {self.seconds:.0f} s")
        due = state.step % self.config.schedule.checkpoint_steps == 0
        if due or state.step in (self.total, self.stop_at):
            self._keep()
        return state.step != self.stop_at

    def _keep(self) -> None:
        """Everything that a killed fit needs to go on: the adapter, its optimiser, and where it stands."""
        if self.world.leads:
            tensors = {f"adapter.{name}": value for name, value in self.state.adapted.adapter_state().items()}
            moments = optimizer_tensors(self.state.optimizer)
            tensors |= {f"optimizer.{name}": value for name, value in moments.items()}
            save_tensors(self.folder / CHECKPOINT, tensors, self._describe())

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        tensors, metadata = load_tensors(path)
        belongs = parse_adapt_config(metadata["config"]) == self.config
        if not belongs or metadata["frozen"] != self.state.adapted.frozen_digest():
            raise CheckpointError(f"{path}: belongs to another fit; remove it or choose another --out")
        self.state.adapted.load_adapter_state(_part(tensors, "adapter."))
        restore_optimizer(self.state.optimizer, _part(tensors, "optimizer."))
        self.state.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self._began = time.monotonic() - self.seconds

    def _describe(self) -> dict[str, Any]:
        """What the files say of themselves: `frozen` is the digest of the backbone's weights."""
        return {
            "config": self.config.to_dict(),
            "design": self.config.design.to_dict(),
            "frozen": self.state.adapted.frozen_digest(),
            "step": self.state.step,
            "seconds": round(self.seconds, 1),
            "images": self.pictures,
            "added": self.state.adapted.added(),
        }


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def adapt_backbone(
    config: AdaptConfig,
    data: DataDirs,
    folder: Path,
    *,
    device: torch.device,
    world: World = ALONE,
    show: Callable[[str], None] = lambda _: None,
    stop_at: int | None = None,
) -> AdaptRun:
    """Fit the adapter of `config`, going on from a checkpoint in `folder` if there is one.

    `stop_at` leaves after that step, as a kill after a checkpoint would. Equal configuration, data, machine and thread
    count give equal losses, however often the fit was interrupted. Raises what `load_backbone`, `load_pairs` and
    `AdaptRun.run` raise, and `AdapterError` for a design that does not fit the backbone.
    """
    backbone = load_backbone(config.backbone)
    adapted = attach(backbone.model.to(device), config.design, seed=config.seed)
    if not adapted.adapter_parameters():
        raise ConfigError(f"the design {config.design.name} has nothing to fit")
    pairs = load_pairs(backbone, data, config.sources, device)
    state = FitState(adapted, make_optimizer(adapted, config.schedule))
    total = config.schedule.steps(len(pairs))[1]
    run = AdaptRun(config, folder, state, total, len(pairs), world, stop_at, show)
    run.run(pairs)
    return run


def load_fitted(folder: Path) -> tuple[dict[str, Tensor], Design, AdaptConfig]:
    """The adapter in the folder of a finished fit, its design, and how it was fitted. Raises `CheckpointError`."""
    path = folder / ADAPTER
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; fit one with `python -m training adapt`")
    tensors, metadata = load_tensors(path)
    config = parse_adapt_config(metadata["config"])
    return tensors, config.design, config
