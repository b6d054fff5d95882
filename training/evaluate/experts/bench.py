"""What one process needs to compute units: a pack on a device, and what becomes of a unit there."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from open_clip.model import CLIP
from torch import Tensor

from training.adapters.adapt import choose_device
from training.evaluate.adapters.bench import machine_of
from training.evaluate.experts.probing import Prober
from training.evaluate.experts.shelf import Shelf
from training.evaluate.experts.units import Result, Unit, told
from training.experts.fitting.fit import FitState, Taken, fit, start_fit
from training.experts.packs.pack import digest_of, load_expert_pack
from training.experts.probes.dense import frozen_maps

POINTS: Final = 40
"""Of a term's curve, each the mean of the steps up to it."""
SHEET: Final = (("scenes_test", 6), ("clothing", 3), ("grocery_store", 3))
"""Pictures whose features are drawn, all without photographs of other sources in them: made here, in the public domain,
and under the MIT licence."""


@dataclass
class Curve:
    """Terms of a loss, step by step."""

    values: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def hear(self, state: FitState, taken: Taken) -> bool:
        """Write one step down."""
        for name, value in taken.terms.items():
            self.values.setdefault(name, []).append((state.step, value))
        return True

    def smoothed(self) -> dict[str, list[list[float]]]:
        """By term at most `POINTS` pairs of a step and the mean since the pair before."""
        found: dict[str, list[list[float]]] = {}
        for name, values in self.values.items():
            size = -(-len(values) // POINTS)
            parts = [values[start : start + size] for start in range(0, len(values), size)]
            found[name] = [[part[-1][0], round(sum(v for _, v in part) / len(part), 5)] for part in parts]
        return found


@dataclass(eq=False)
class Bench:
    """A pack and its digest on a device."""

    shelf: Shelf
    digest: str

    def compute(self, unit: Unit) -> tuple[Result, dict[str, Tensor]]:
        """Fit and probe one unit: what it found, and its maps of the pictures of `SHEET`.

        A fit that loses its loss is a result without scores.
        """
        began, model, curve = time.monotonic(), self.shelf.model(unit.tower), Curve()
        pictures, steps, lost = self._fit(model, unit, curve)
        fitted = time.monotonic()
        prober = Prober(self.shelf, model, unit.tower, unit.side, unit.seed)
        scores, ious = ({}, {}) if lost else prober.run(unit.probes)
        result = Result(
            key=unit.key(self.digest),
            part=unit.part,
            label=unit.label,
            tower=unit.tower,
            seed=unit.seed,
            side=unit.side,
            config={} if unit.config is None else told(unit.config),
            sets=[list(each) for each in unit.sets],
            pictures=pictures,
            steps=steps,
            terms=curve.smoothed(),
            scores=scores,
            ious=ious,
            fit_seconds=round(fitted - began, 1),
            probe_seconds=round(time.monotonic() - fitted, 1),
            machine=machine_of(self.shelf.device),
            lost=lost,
        )
        return result, {} if lost else {"places": self._sheet(model, unit.side)}

    def _fit(self, model: CLIP, unit: Unit, curve: Curve) -> tuple[int, int, bool]:
        """Fit in place: pictures, steps, and whether the loss was lost."""
        if unit.config is None:
            return 0, 0, False
        feed = self.shelf.feed(unit)
        state = start_fit(model, unit.config)
        try:
            fit(state, feed, unit.config, curve.hear)
        except FloatingPointError:
            return len(feed), state.step, True
        return len(feed), state.step, False

    def _sheet(self, model: CLIP, side: int) -> Tensor:
        found = []
        for name, count in SHEET:
            rows = self.shelf.pack.chosen(name).without_photographs(count)
            pictures = torch.from_numpy(self.shelf.pixels(name)[rows]).to(self.shelf.device)
            found.append(frozen_maps(model.visual, pictures, side=side).half().cpu())
        return torch.cat(found)


def open_bench(pack: Path, device: str) -> Bench:
    """A bench for the pack at `pack` on the named device (`auto`: the GPU where there is one)."""
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU
    return Bench(Shelf(load_expert_pack(pack), choose_device(device)), digest_of(pack))
