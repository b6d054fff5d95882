"""What one process needs to compute units: the frozen backbone and all pairs on one device, loaded once."""

import hashlib
import math
import platform
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.model import CLIP
from torch import Tensor

from training.adapters.adapt import FitState, choose_device, fit, make_optimizer
from training.adapters.attach import Adapted, attach
from training.adapters.pack import Pack
from training.adapters.pairs import Pairs, pairs_of_pack
from training.adapters.settings import TRAINING_SETS
from training.data.rows import DataError
from training.evaluate.adapters.measure import Tested, measure, open_tested, pair_loss
from training.evaluate.adapters.units import Result, Unit, told
from training.models.towers import build_model

LOST: Final = 1e9
"""In place of a loss that is no number."""


def pack_digest(path: Path) -> str:
    """sha256 of the file, in hex. Raises `DataError` where there is none."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; write it with `python -m training adapter-pack`")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def frozen_backbone(pack: Pack, device: torch.device) -> CLIP:
    """The backbone of a pack, in float32 from its float16 weights."""
    model = build_model(pack.model)
    model.load_state_dict({name: value.float() for name, value in pack.weights.items()})
    return model.eval().to(device)


def machine_of(device: torch.device) -> str:
    """Which machine figures come from."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    return f"{name}, torch {torch.__version__}, open_clip {open_clip.__version__}"


@dataclass(eq=False)
class Bench:
    """A device with everything on it. Sets are put there when they are first asked for."""

    pack: Pack
    pixels: npt.NDArray[np.uint8]
    digest: str
    device: torch.device
    model: CLIP = field(init=False)
    machine: str = field(init=False)
    _pairs: dict[tuple[str, str], Pairs] = field(default_factory=dict)
    _tested: dict[str, Tested] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.set_float32_matmul_precision("high")  # TF32 on a GPU
        self.model, self.machine = frozen_backbone(self.pack, self.device), machine_of(self.device)

    def pairs(self, fitted: str, split: str) -> Pairs:
        """The pairs of a training set in one split."""
        if (fitted, split) not in self._pairs:
            sources = TRAINING_SETS[fitted]
            self._pairs[fitted, split] = pairs_of_pack(self.pack, self.pixels, split, sources, self.device)
        return self._pairs[fitted, split]

    def tested(self, source: str) -> Tested:
        """The test rows of a source."""
        if source not in self._tested:
            self._tested[source] = open_tested(self.pack, self.pixels, source, self.device)
        return self._tested[source]

    def adapted(self, unit: Unit) -> Adapted:
        """The adapter of a unit as it starts."""
        return attach(self.model, unit.config.design, seed=unit.config.seed)

    def compute(self, unit: Unit) -> tuple[Result, dict[str, Tensor]]:
        """Fit and measure one unit: what it found, and the adapter's weights.

        A fit that loses its loss under too high a rate is a result too: `LOST` on the calibrate rows, and no scores.
        """
        began, adapted, losses = time.monotonic(), self.adapted(unit), [0.0]
        lost = not self._fit(adapted, unit, losses)
        config, calibrate = unit.config, LOST
        if not lost:
            calibrate = pair_loss(adapted, self.pairs(unit.fitted, "calibrate"))
        result = Result(
            key=unit.key(self.digest),
            part=unit.part,
            label=unit.label,
            fitted=unit.fitted,
            seed=config.seed,
            rate=config.schedule.peak_lr,
            epochs=config.schedule.epochs,
            batch_size=config.schedule.batch_size,
            design=told(config.design),
            steps=len(losses) - 1,
            loss=(round(losses[1 if len(losses) > 1 else 0], 5), round(losses[-1], 5)),
            calibrate=round(calibrate, 6) if math.isfinite(calibrate) else LOST,
            added={str(tower): count for tower, count in adapted.added().items()},
            share=round(adapted.share(), 6),
            scores={} if lost else {source: measure(adapted, self.tested(source)) for source in unit.tests},
            seconds=round(time.monotonic() - began, 2),
            machine=self.machine,
        )
        return result, {name: value.cpu() for name, value in adapted.adapter_state().items()}

    def _fit(self, adapted: Adapted, unit: Unit, losses: list[float]) -> bool:
        """Fit in place and add to `losses`; whether it went well. Nothing happens where there is nothing to fit."""
        if adapted.adapter_parameters():
            state = FitState(adapted, make_optimizer(adapted, unit.config.schedule))
            try:
                fit(state, self.pairs(unit.fitted, "fit"), unit.config, partial(_remember, losses))
            except FloatingPointError:
                return False
        return True


def _remember(losses: list[float], _: FitState, loss: float, __: float) -> bool:
    losses.append(loss)
    return True


def open_bench(pack: Pack, pixels: npt.NDArray[np.uint8], digest: str, device: str) -> Bench:
    """A bench on the named device (`auto`: the GPU where there is one)."""
    return Bench(pack, pixels, digest, choose_device(device))
