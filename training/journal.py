"""What a run leaves on disk and shows while it goes on."""

import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import torch
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm

from training.checkpoint import save_checkpoint, save_tensors
from training.config import RunConfig
from training.curve import format_row, plot_curve, start_curve
from training.distributed import World
from training.models.text import TOKENIZER

CHECKPOINT = "checkpoint.safetensors"
FINAL = "final.safetensors"
CURVE = "curve.csv"
PLOT = "curve.png"


@dataclass
class RunState:
    """What changes while a run goes on: weights, their moving average, the optimiser, steps done, seconds taken."""

    model: CLIP
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0


class Journal(AbstractContextManager["Journal"]):
    """The files of a run and its progress bar. Of several processes only the first one writes and shows anything."""

    def __init__(
        self, config: RunConfig, run_dir: Path, state: RunState, total_steps: int, *, progress: bool, world: World
    ) -> None:
        self._config, self._run_dir, self._state, self._leads = config, run_dir, state, world.leads
        self._began = time.monotonic() - state.seconds
        self._curve: IO[str] | None = None
        if world.leads:
            run_dir.mkdir(parents=True, exist_ok=True)
            start_curve(run_dir / CURVE, before_step=state.step)
            self._curve = (run_dir / CURVE).open("a", encoding="utf-8", buffering=1)
        shown = progress and world.leads
        self._bar = tqdm(
            total=total_steps, initial=state.step, desc=config.name, unit="step", disable=not shown, mininterval=5
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._curve:
            self._curve.close()

    def keep_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Put the tokenizer beside the weights."""
        if self._leads:
            tokenizer.save(str(self._run_dir / TOKENIZER), pretty=False)

    def record(self, loss: float, lr: float) -> None:
        """One line of the curve, for the step just taken."""
        self._state.seconds = time.monotonic() - self._began
        if self._curve:
            scale = self._state.model.logit_scale.exp().item()
            self._curve.write(format_row(self._state.step, loss, lr, scale, self._state.seconds))
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._bar.update()

    def keep_checkpoint(self, images: int) -> None:
        """Everything that a killed run needs to go on."""
        state = self._state
        if self._leads:
            path = self._run_dir / CHECKPOINT
            save_checkpoint(path, state.model, state.average, state.optimizer, self._describe(images))

    def finish(self, images: int) -> None:
        """The weight average as the run's result, and the plot."""
        if self._leads:
            averages = {f"average.{name}": value for name, value in self._state.average.items()}
            save_tensors(self._run_dir / FINAL, averages, self._describe(images))
            plot_curve(self._run_dir / CURVE, self._run_dir / PLOT, self._config.name)

    def _describe(self, images: int) -> dict[str, Any]:
        """The configuration, steps done, seconds taken and the number of images."""
        state = self._state
        return {
            "config": asdict(self._config),
            "step": state.step,
            "seconds": round(state.seconds, 1),
            "images": images,
        }
