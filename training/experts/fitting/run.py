"""One multi-task fit with a folder of its own, which goes on where it was killed."""

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import torch
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

from training.checkpoint import CheckpointError, load_tensors, optimizer_tensors, restore_optimizer, save_tensors
from training.curve import format_row, start_curve
from training.distributed import World, share_batch_statistics
from training.experts.errors import ExpertError
from training.experts.fitting.config import FitConfig, parse_fit_config
from training.experts.fitting.feed import Feed
from training.experts.fitting.fit import ALONE, FitState, Taken, fit, start_fit
from training.experts.fitting.terms import format_terms, plot_terms, start_terms
from training.experts.locks import alone

CHECKPOINT: Final = "checkpoint.safetensors"
MODEL: Final = "model.safetensors"
CURVE: Final = "curve.csv"
TERMS: Final = "terms.csv"
PLOT: Final = "terms.png"


def weights_digest(model: nn.Module) -> str:
    """sha256 over a model's weights and their names."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + str(tuple(value.shape)).encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass
class FitRun:
    """The folder of one fit: checkpoint, curve, terms of the loss, and at the end the model without its heads.

    about: what else decides the outcome or is worth knowing of the data, as JSON has it; kept in the files, and a fit
    goes on only with the same. Of several processes only the first one writes and shows anything.
    """

    config: FitConfig
    folder: Path
    state: FitState
    start: str
    pictures: int
    about: dict[str, Any] = field(default_factory=dict)
    world: World = ALONE
    ahead: bool = False
    stop_at: int | None = None
    show: Callable[[str], None] = lambda _: None
    seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _files: tuple[IO[str], ...] = ()

    @property
    def total(self) -> int:
        """Steps of the whole fit."""
        return self.config.schedule.steps(self.pictures)[1]

    def run(self, feed: Feed) -> None:
        """Fit from where the folder's checkpoint stands, or from the start.

        Raises `CheckpointError` if the folder holds another fit, `ExpertError` if another process fits there, and what
        `fit` raises.
        """
        with contextlib.ExitStack() as files:
            if self.world.leads:
                self.folder.mkdir(parents=True, exist_ok=True)
                files.enter_context(alone(self.folder, f"{self.folder}: another process fits here."))
            self._resume()
            if self.world.leads:
                start_curve(self.folder / CURVE, before_step=self.state.step)
                start_terms(self.folder / TERMS, before_step=self.state.step)
                opened = ((self.folder / name).open("a", encoding="utf-8", buffering=1) for name in (CURVE, TERMS))
                self._files = tuple(files.enter_context(each) for each in opened)
            fit(self.state, feed, self.config, self._hear, self.world, ahead=self.ahead)
            if self.world.leads and self.state.step == self.total:
                weights = {f"model.{name}": value for name, value in self.state.model.state_dict().items()}
                save_tensors(self.folder / MODEL, weights, self._describe())
                plot_terms(self.folder / TERMS, self.folder / PLOT, self.config.backbone)

    def _hear(self, state: FitState, taken: Taken) -> bool:
        self.seconds = time.monotonic() - self._began
        if self._files:
            curve, terms = self._files
            scale = state.model.logit_scale.exp().item()
            curve.write(format_row(state.step - 1, taken.loss, taken.rate, scale, self.seconds))
            terms.write(format_terms(state.step - 1, taken.terms))
        if state.step % 10 == 0 or state.step == self.total:
            self.show(f"step {state.step} of {self.total}, loss {taken.loss:.3f}, {self.seconds:.0f} s")
        due = state.step % self.config.schedule.checkpoint_steps == 0 or state.step in (self.total, self.stop_at)
        if due and self.world.leads:
            self._keep()
        return state.step != self.stop_at

    def _keep(self) -> None:
        """Everything that a killed fit needs to go on."""
        state = self.state
        tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
        if state.heads is not None:
            tensors |= {f"heads.{name}": value for name, value in state.heads.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(state.optimizer).items()}
        save_tensors(self.folder / CHECKPOINT, tensors, self._describe())

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        tensors, metadata = load_tensors(path)
        if metadata.get("kind") != "experts" or metadata["start"] != self.start or self._another(metadata):
            raise CheckpointError(f"{path}: belongs to another fit; remove it or choose another folder")
        self.state.model.load_state_dict(_part(tensors, "model."))
        if self.state.heads is not None:
            self.state.heads.load_state_dict(_part(tensors, "heads."))
        restore_optimizer(self.state.optimizer, _part(tensors, "optimizer."))
        self.state.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self._began = time.monotonic() - self.seconds

    def _another(self, metadata: dict[str, Any]) -> bool:
        return (
            not self.config.gives_the_same(parse_fit_config(metadata["config"]))
            or metadata["images"] != self.pictures
            or metadata.get("about", {}) != self.about
        )

    def _describe(self) -> dict[str, Any]:
        """What the files say of themselves; `start` is the digest of the weights that the fit began with."""
        return {
            "kind": "experts",
            "config": self.config.to_dict(),
            "start": self.start,
            "step": self.state.step,
            "seconds": round(self.seconds, 1),
            "images": self.pictures,
            "about": self.about,
        }


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def fit_model(
    model: CLIP | CustomTextCLIP,
    feed: Feed,
    config: FitConfig,
    folder: Path,
    *,
    about: dict[str, Any] | None = None,
    world: World = ALONE,
    ahead: bool = False,
    show: Callable[[str], None] = lambda _: None,
    stop_at: int | None = None,
) -> FitRun:
    """Fine-tune `model`, in place and on its device, going on from a checkpoint in `folder` if there is one.

    Pass the weights that the fit begins with, also when it goes on: they are how a checkpoint is known to belong to it.
    `stop_at` leaves after that step, as a kill after a checkpoint would. Equal configuration, data, machine and thread
    count give equal losses, however often the fit was interrupted; the processes of a `world` share every batch and
    take the steps of one. See `FitRun` for `about` and `batches` for `ahead`.
    Raises what `start_fit` and `FitRun.run` raise, and `ExpertError` for a model that processes cannot share.
    """
    digest = weights_digest(model)
    state = start_fit(model, config)
    try:
        share_batch_statistics(model, world)
    except ValueError as error:
        raise ExpertError(f"{config.backbone}: {error}; fit it with one.") from error
    run = FitRun(config, folder, state, digest, len(feed), about or {}, world, ahead, stop_at, show)
    run.run(feed)
    return run


def load_fitted(folder: Path) -> tuple[dict[str, Tensor], FitConfig, dict[str, Any]]:
    """The weights of a finished fit by their names in the model, its configuration, and what it says of itself.

    They have the shapes of the model that it began with, whatever the size of the pictures. Raises `CheckpointError`.
    """
    path = folder / MODEL
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; the fit in this folder is not finished, or there is none")
    tensors, metadata = load_tensors(path)
    if metadata.get("kind") != "experts":
        raise CheckpointError(f"{path}: not the model of a fit with experts")
    return _part(tensors, "model."), parse_fit_config(metadata["config"]), metadata
