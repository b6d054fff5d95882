"""Which fits are made, in which order: what is asked first is what matters most if time runs out.

`rates` comes first: the paper names no learning rate, so each design gets the one of `RATES` under which the
`calibrate` rows of what it is fitted on fare best, by a seed that is used for nothing else. No test row is looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from training.adapters.adapt_config import AdaptConfig, AdaptSchedule
from training.adapters.design import Design, design
from training.adapters.settings import PRETRAINING, RESERVED, TRAINING_SETS
from training.config import ConfigError
from training.evaluate.adapters.units import Result, Unit

RATES: Final = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
TUNING_SEED: Final = 100
SEEDS: Final = (0, 1, 2, 3, 4)
UNIONS: Final = ("reserved", "pretraining")
LONG_EPOCHS: Final = 40
"""Of the part `long`. 5 epochs of the paper's 100,000 pairs are 1,953 steps; of some 5,000 they are about 100."""

EVERYTHING: Final = (*RESERVED, *PRETRAINING)
WHOLE: Final = 128
"""Width of the zoo's ViT, for which the paper's bottleneck of 128 and rank of 16 are wide: its ViT-B/16 has 768."""

HEADLINE: Final = (
    "clip-adapter",
    "both-bottleneck",
    "both-bottleneck-ensemble",
    "both-pyramid",
    "without-msa",
    "msa",
    "msa-lo",
)
SCALES: Final = tuple(f"{kind}-{which}" for kind in ("msa", "msa-lo") for which in ("l", "lm", "ls"))
TOWERS: Final = tuple(f"{kind}-{which}" for kind in ("msa", "msa-lo") for which in ("vision", "language"))
PLACES: Final = tuple(f"{place}-{kind}" for kind in ("bottleneck", "pyramid") for place in ("att", "ffn"))
FIGURE_1: Final = (*(f"{place}-{kind}" for place in ("att", "ffn") for kind in ("pyramid", "rb", "mlp")), "on-top")
"""What figure 1 compares at equal numbers of parameters, L N d d in each tower."""


def matched(width: int) -> Design:
    """A single bottleneck after attention and feed-forward, of a width."""
    return replace(design("both-bottleneck"), name=f"both-bottleneck-w{width}", width=width)


def matched_widths() -> dict[str, int]:
    """By ensemble, the width at which a single bottleneck at both places has as many parameters.

    Per block, in units of d = WHOLE: a bottleneck of width w at both places has 4 w; the ensemble of two 8 w; a pyramid
    of N at both 2 N d; MSA 3 d and its bottleneck 2 w; MSA-Lo 4 r in the attention (three A, one B) and 4 r after the
    feed-forward part (one A, three B). A test compares with the modules.
    """
    bottleneck, rank = design("msa").width, design("msa-lo").rank
    return {
        "both-bottleneck-ensemble": 2 * bottleneck,
        "both-pyramid": design("both-pyramid").n * WHOLE // 2,
        "msa": (3 * WHOLE + 2 * bottleneck) // 4,
        "msa-lo": 2 * rank,
    }


def designs() -> dict[str, Design]:
    """All designs of the main comparison by label: the paper's by name, and single bottlenecks to match."""
    named = {name: design(name) for name in (*HEADLINE, *SCALES, *TOWERS, *PLACES, *FIGURE_1)}
    widths = sorted({*matched_widths().values(), WHOLE // 6} - {design("both-bottleneck").width})
    return named | {matched(width).name: matched(width) for width in widths}


def sweeps() -> dict[str, tuple[str, Design]]:
    """Further designs by label, each with the label whose rate it takes: N, ranks, and the two readings of masks."""
    found: dict[str, tuple[str, Design]] = {}
    for n in (1, 4, 8):
        for base in FIGURE_1:
            found[f"{base}-n{n}"] = (base, replace(design(base), name=f"{base}-n{n}", n=n))
    for base in ("msa", "msa-lo"):
        found[f"{base}-literal"] = (base, replace(design(base), name=f"{base}-literal", mask="literal"))
    for rank in (2, 4, 8, 32):
        found[f"msa-lo-r{rank}"] = ("msa-lo", replace(design("msa-lo"), name=f"msa-lo-r{rank}", rank=rank))
    found["msa-lo-separate"] = ("msa-lo", replace(design("msa-lo"), name="msa-lo-separate", factors="separate"))
    return found


Rates = Mapping[tuple[str, str, int], float]
"""By label, training set and epochs."""


def chosen_rates(results: Sequence[Result]) -> dict[tuple[str, str, int], float]:
    """The rate under which the calibrate rows fare best. Only fits by `TUNING_SEED` are looked at."""
    best: dict[tuple[str, str, int], Result] = {}
    for result in results:
        place = (result.label, result.fitted, result.epochs)
        if result.seed == TUNING_SEED and (place not in best or result.calibrate < best[place].calibrate):
            best[place] = result
    return {place: result.rate for place, result in best.items()}


class Grid:
    """All units, part by part. `seeds` and `labels` cut it down; `backbone` is only a name in results."""

    PARTS: tuple[str, ...] = ("rates", "adaptation", "transfer", "sources", "sweeps", "rates-long", "long")

    def __init__(
        self,
        *,
        backbone: str = "vit-s",
        seeds: Sequence[int] = SEEDS,
        labels: Sequence[str] = (),
        batch_size: int = 256,
        bf16: bool = False,
    ) -> None:
        known = [*designs(), *(sweeps())]
        for label in labels:
            if label not in known:
                raise ConfigError(f"unknown design {label!r} of the grid; known: {', '.join(known)}")
        wanted = set(labels) or set(known)
        self.backbone, self.seeds = backbone, tuple(seeds)
        self.schedule = AdaptSchedule(batch_size=batch_size, bf16=bf16)
        self.designs = {label: what for label, what in designs().items() if label in wanted}
        self.sweeps = {label: pair for label, pair in sweeps().items() if label in wanted}

    def units(self, part: str, results: Sequence[Result]) -> list[Unit]:
        """The units of one part, in order; those whose rate was not chosen yet are left out.

        Raises `ConfigError` for an unknown part.
        """
        if part not in self.PARTS:
            raise ConfigError(f"unknown part {part!r} of the grid; known: {', '.join(self.PARTS)}")
        return list(self._rates(part) if "rates" in part else self._main(part, chosen_rates(results)))

    def _rates(self, part: str) -> Iterator[Unit]:
        epochs, chosen = (self.schedule.epochs, self.designs)
        if part == "rates-long":
            epochs, chosen = LONG_EPOCHS, self._headline()
        for fitted in UNIONS:
            for label, what in chosen.items():
                for rate in RATES:
                    yield self._unit(part, label, what, fitted, TUNING_SEED, rate, epochs)

    def _main(self, part: str, rates: Rates) -> Iterator[Unit]:
        if part in ("adaptation", "transfer"):
            fitted = "reserved" if part == "adaptation" else "pretraining"
            yield self._unit(part, "zero-shot", design("zero-shot"), fitted, 0, RATES[0], self.schedule.epochs)
        for seed in self.seeds:
            for label, what, fitted, like, epochs in self._wanted(part):
                union = fitted if fitted in UNIONS else "reserved"
                rate = rates.get((like, union, epochs))
                if rate is not None:
                    yield self._unit(part, label, what, fitted, seed, rate, epochs)

    def _wanted(self, part: str) -> Iterator[tuple[str, Design, str, str, int]]:
        """Label, design, training set, the label whose rate is taken, and epochs."""
        short = self.schedule.epochs
        if part in ("adaptation", "transfer"):
            fitted = "reserved" if part == "adaptation" else "pretraining"
            yield from ((label, what, fitted, label, short) for label, what in self.designs.items())
        elif part == "sources":
            for source in RESERVED:
                yield from ((label, what, source, label, short) for label, what in self._headline().items())
        elif part == "sweeps":
            for fitted in UNIONS:
                yield from ((label, what, fitted, like, short) for label, (like, what) in self.sweeps.items())
        else:
            for fitted in UNIONS:
                yield from ((label, what, fitted, label, LONG_EPOCHS) for label, what in self._headline().items())

    def _headline(self) -> dict[str, Design]:
        """The designs of the main comparison, without ablations."""
        return {
            label: what
            for label, what in self.designs.items()
            if label in HEADLINE or label.startswith("both-bottleneck-w")
        }

    def _unit(self, part: str, label: str, what: Design, fitted: str, seed: int, rate: float, epochs: int) -> Unit:
        """One unit. It is tested on all that makes a setting with `fitted`, and on nothing while rates are chosen."""
        tests: tuple[str, ...] = EVERYTHING if fitted in UNIONS else (fitted,)
        config = AdaptConfig(
            backbone=self.backbone,
            design=what,
            sources=TRAINING_SETS[fitted],
            seed=seed,
            schedule=replace(self.schedule, peak_lr=rate, epochs=epochs),
        )
        return Unit(part, label, fitted, config, () if "rates" in part else tests)
