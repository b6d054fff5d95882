"""Grids to choose from: everything, or what one CPU computes in a working day and still answers the main questions."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from training.adapters.design import Design, design
from training.adapters.settings import RESERVED
from training.cli_options import Plan
from training.evaluate.adapters.grid import (
    HEADLINE,
    RATES,
    SEEDS,
    TUNING_SEED,
    Grid,
    Rates,
    matched_widths,
    sweeps,
)
from training.evaluate.adapters.units import Result, Unit

BACKBONE: Final = "vit-s"
LADDER: Final = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
FIRST_RATES: Final = (1e-3, 3e-3, 1e-2)
"""A design whose best rate lies at an edge of what was tried gets the next of `LADDER`."""
FEW_SEEDS: Final = 3
"""Fits of everything but the headline in the setting adaptation."""

FIGURE_1: Final = ("ffn-pyramid", "ffn-rb", "ffn-mlp", "on-top")
FEW_SIZES: Final = (1, 4)
"""N of figure 1, besides the 2 that all of them have."""

LIKE: Final = {
    **{f"msa-{which}": "msa" for which in ("l", "lm", "ls", "vision", "language")},
    **{f"msa-lo-{which}": "msa-lo" for which in ("l", "lm", "ls")},
}
"""Ablations take the rate of the whole, which saves half of their fits."""
PLACES: Final = {"att-bottleneck": "both-bottleneck", "att-pyramid": "both-pyramid"}


def matched_label(ensemble: str) -> str:
    """The label of the single bottleneck with as many parameters as an ensemble of `matched_widths`."""
    width = matched_widths()[ensemble]
    return "both-bottleneck" if width == design("both-bottleneck").width else f"both-bottleneck-w{width}"


def rate_like(label: str) -> tuple[str, ...]:
    """Whose rates a design may have been fitted with: its own first, then that of the design it is a variant of."""
    swept = sweeps()
    base = swept[label][0] if label in swept else (LIKE | PLACES).get(label)
    return (label,) if base is None else (label, base)


class CpuGrid(Grid):
    """About six hours of one core, in order of importance. Fits run under bfloat16 autocast.

    Against the whole grid: rates are searched from the middle outwards, on the reserved sources alone; ablations take
    the rate of what they vary; adapters fitted on reserved sources are tested on those alone; figure 1 is drawn after
    the feed-forward part.
    """

    PARTS = (
        *("rates", "rates-beyond", "rates-further", "adaptation", "scales", "transfer"),
        *("sizes-rates", "sizes-rates-beyond", "sizes", "masks", "transfer-scales"),
    )

    def __init__(self, *, seeds: Sequence[int] = SEEDS, labels: Sequence[str] = (), batch_size: int = 256) -> None:
        super().__init__(backbone=BACKBONE, seeds=seeds, labels=labels, batch_size=batch_size, bf16=True)

    def units(self, part: str, results: Sequence[Result]) -> list[Unit]:
        """As `Grid.units`. What is beyond an edge is known only when the first rates have results."""
        if part in self.PARTS and part.endswith(("-beyond", "-further")):
            return list(self._beyond(part, results))
        return super().units(part, results)

    def _tuned(self, part: str) -> dict[str, Design]:
        """The designs whose rates a part searches."""
        wanted = FIGURE_1 if part.startswith("sizes") else self._compared()
        return {label: self.designs[label] for label in wanted if label in self.designs}

    def _compared(self) -> tuple[str, ...]:
        matched = (matched_label(ensemble) for ensemble in matched_widths())
        return tuple(label for label in dict.fromkeys((*HEADLINE, *matched)) if label in self.designs)

    def _rates(self, part: str) -> Iterator[Unit]:
        for label, what in self._tuned(part).items():
            for rate in FIRST_RATES:
                yield self._unit(part, label, what, "reserved", TUNING_SEED, rate, self.schedule.epochs)

    def _beyond(self, part: str, results: Sequence[Result]) -> Iterator[Unit]:
        for label, what in self._tuned(part).items():
            rate = next_rate(results, label, "reserved", self.schedule.epochs)
            if rate is not None:
                yield self._unit(part, label, what, "reserved", TUNING_SEED, rate, self.schedule.epochs)

    def _main(self, part: str, rates: Rates) -> Iterator[Unit]:
        epochs = self.schedule.epochs
        if part in ("adaptation", "transfer"):
            yield self._unit(part, "zero-shot", design("zero-shot"), _union(part), 0, RATES[0], epochs)
        for seed in self.seeds if part == "adaptation" else self.seeds[:FEW_SEEDS]:
            for label, what, fitted, like in self._asked(part):
                rate = rates.get((like, "reserved", epochs))
                if rate is not None:
                    yield self._unit(part, label, what, fitted, seed, rate, epochs)

    def _asked(self, part: str) -> Iterator[tuple[str, Design, str, str]]:
        """Label, design, training set, and the label whose rate is taken."""
        if part in ("adaptation", "transfer"):
            yield from ((label, self.designs[label], _union(part), label) for label in self._compared())
        elif part.endswith("scales"):
            yield from (
                (label, self.designs[label], _union(part), like)
                for label, like in LIKE.items()
                if label in self.designs
            )
        elif part == "masks":
            yield from self._swept(("msa-literal", "msa-lo-literal"))
        else:
            yield from ((label, self.designs[label], "reserved", label) for label in FIGURE_1 if label in self.designs)
            yield from self._swept(tuple(f"{base}-n{n}" for n in FEW_SIZES for base in FIGURE_1))
            yield from self._swept(("msa-lo-r4",))
            for label, like in PLACES.items():
                if label in self.designs:
                    yield label, self.designs[label], "reserved", like

    def _swept(self, labels: Sequence[str]) -> Iterator[tuple[str, Design, str, str]]:
        for label in labels:
            if label in self.sweeps:
                like, what = self.sweeps[label]
                yield label, what, "reserved", like

    def _unit(self, part: str, label: str, what: Design, fitted: str, seed: int, rate: float, epochs: int) -> Unit:
        """As `Grid._unit`; a fit on reserved sources is tested on these alone, which halves the time of testing."""
        unit = super()._unit(part, label, what, fitted, seed, rate, epochs)
        return replace(unit, tests=RESERVED) if unit.tests and fitted == "reserved" else unit


def _union(part: str) -> str:
    return "pretraining" if part.startswith("transfer") else "reserved"


def next_rate(results: Sequence[Result], label: str, fitted: str, epochs: int) -> float | None:
    """The rate of `LADDER` to try next: beyond the edge that the best of those tried lies at. Null where the best lies
    within, nothing was tried, or the ladder ends."""
    tried = {
        result.rate: result.calibrate
        for result in results
        if (result.label, result.fitted, result.epochs, result.seed) == (label, fitted, epochs, TUNING_SEED)
    }
    if not tried:
        return None
    best = min(tried, key=lambda rate: tried[rate])
    higher = [rate for rate in LADDER if rate > best]
    lower = [rate for rate in LADDER if rate < best]
    if best == max(tried) and higher:
        return higher[0]
    return lower[-1] if best == min(tried) and lower else None


def make_grid(
    plan: Plan, *, seeds: Sequence[int] = SEEDS, labels: Sequence[str] = (), batch_size: int = 256, bf16: bool = False
) -> Grid:
    """The grid of a plan. Raises `ConfigError` for an unknown label."""
    if plan is Plan.CPU:
        return CpuGrid(seeds=seeds, labels=labels, batch_size=batch_size)
    return Grid(backbone=BACKBONE, seeds=seeds, labels=labels, batch_size=batch_size, bf16=bf16)
