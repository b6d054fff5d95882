"""Which fits the study makes, part by part, in order of importance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from training.data.rows import DataError
from training.evaluate.experts.measures import ALL, CALIBRATED, FEW, JUDGED
from training.evaluate.experts.units import Unit
from training.experts.fitting.config import FitConfig, FitSchedule
from training.experts.fitting.heads import Layers
from training.experts.fitting.losses import DepthForm, Weights

TOWERS: Final = ("vit-s", "resnet-l")
SEEDS: Final = (0, 1, 2)
FEW_SEEDS: Final = (0, 1)
SIDE, OWN_SIDE = 96, 64
PARTS: Final = ("main", "roles", "heads", "tried", "rates")
EXPERTS: Final = ("classes", "depth", "normals")

PHOTOGRAPHS: Final = (("photographs", "pseudo"),)
SCENES: Final = (("scenes_fit", "pseudo"),)
BOTH: Final = (*PHOTOGRAPHS, *SCENES)

SCHEDULE: Final = FitSchedule(epochs=4, batch_size=32, warmup_steps=100, peak_lr=3e-4, bf16=True)
"""750 steps on 6,000 pictures: what a core does in ten minutes. The paper's rate is for towers of a hundred times the
size, fitted a thousand times as long; the part `rates` says what others come to."""
RATES: Final = (1e-4, 3e-4, 1e-3)
"""Peaks that are compared, by CLIP-FT alone: the baseline is to have the rate that suits it."""


@dataclass(frozen=True)
class Recipe:
    """How a backbone is fine-tuned. experts: those that teach; against: the label of its baseline, which differs from
    it in having no expert alone; words: what is tried, for what deviates from the paper; seeds: of what is tried."""

    label: str
    experts: tuple[str, ...] = EXPERTS
    sets: tuple[tuple[str, str], ...] = BOTH
    side: int = SIDE
    epochs: int = SCHEDULE.epochs
    peak_lr: float = SCHEDULE.peak_lr
    layers: Layers = 1
    depth_form: DepthForm = "median"
    classes_weight: float = Weights().classes
    geometry_weight: float = Weights().depth
    against: str = "ft"
    words: str = ""
    seeds: tuple[int, ...] = FEW_SEEDS

    def config(self, tower: str, seed: int, classes: int) -> FitConfig:
        """The fit of a backbone, where the experts know `classes` classes."""
        usual = Weights()
        weights = Weights(
            clip=usual.clip,
            classes=self.classes_weight if "classes" in self.experts else 0.0,
            depth=self.geometry_weight if "depth" in self.experts else 0.0,
            normals=self.geometry_weight if "normals" in self.experts else 0.0,
        )
        return FitConfig(
            backbone=tower,
            sides=(self.side,),
            classes=classes,
            weights=weights,
            layers=self.layers,
            depth_form=self.depth_form,
            seed=seed,
            schedule=replace(SCHEDULE, epochs=self.epochs, peak_lr=self.peak_lr),
        )

    def baseline(self) -> "Recipe":
        """The same without experts."""
        return replace(self, label=self.against, experts=())


FT: Final = Recipe("ft", ())
CLIPTEX: Final = Recipe("cliptex")
ROLES: Final = (
    Recipe("classes", ("classes",)),
    Recipe("depth", ("depth",)),
    Recipe("normals", ("normals",)),
    Recipe("classes-depth", ("classes", "depth")),
    Recipe("classes-normals", ("classes", "normals")),
    Recipe("depth-normals", ("depth", "normals")),
)
"""Rows 2 to 7 of table 5; the first is CLIP-FT, the last CLIPTeX."""
THREE_LAYERS: Final = Recipe("three-layers", layers=3)
TRIED: Final = (
    Recipe("strong-classes", classes_weight=1.0, words="ten times the weight of segmentation", seeds=SEEDS),
    Recipe(
        "strong-experts",
        classes_weight=10 * Weights().classes,
        geometry_weight=10 * Weights().depth,
        words="ten times the weight of every expert",
    ),
    Recipe("exact-labels", sets=(*PHOTOGRAPHS, ("scenes_fit", "exact")), words="exact labels of scenes, not experts'"),
    Recipe("unit-depth", depth_form="unit", words="depth from 0 to 1 in every picture"),
    Recipe("low-rate", peak_lr=1e-4, against="low-rate-ft", words="a third of the peak rate"),
    Recipe("high-rate", peak_lr=1e-3, against="high-rate-ft", words="three times the peak rate"),
    Recipe("scenes-alone", sets=SCENES, epochs=8, against="scenes-alone-ft", words="scenes alone, as many steps"),
    Recipe(
        "photographs-alone",
        sets=PHOTOGRAPHS,
        epochs=8,
        against="photographs-alone-ft",
        words="photographs alone, as many steps",
    ),
    Recipe("small-maps", side=OWN_SIDE, against="small-maps-ft", words=f"pictures of {OWN_SIDE} pixels"),
)
"""Those held against the usual CLIP-FT come first; what mends most has as many seeds as what it mends."""
RECIPES: Final = {each.label: each for each in (FT, CLIPTEX, *ROLES, THREE_LAYERS, *TRIED)}


def tried_with(tower: str, towers: Sequence[str]) -> tuple[Recipe, ...]:
    """What is tried with a backbone: everything with the first, with others what needs no baseline of its own."""
    return TRIED if tower == towers[0] else tuple(each for each in TRIED if each.against == FT.label)


def rate_label(rate: float) -> str:
    """Of CLIP-FT at another peak rate, on calibrate rows."""
    return f"rate-{rate:g}"


CLIP, CLIP_OWN = "clip", "clip-own-size"


@dataclass(frozen=True)
class Grid:
    """All units of a pack. classes: that its experts know; towers: those that it has."""

    classes: int
    towers: tuple[str, ...] = TOWERS

    def units(self, part: str) -> list[Unit]:
        """One of `PARTS`. Raises `DataError` for another."""
        if part not in PARTS:
            raise DataError(f'no part is called "{part}"; there are {", ".join(PARTS)}')
        made = {
            "main": self._main,
            "roles": self._roles,
            "heads": self._heads,
            "tried": self._tried,
            "rates": self._rates,
        }
        return list(made[part]())

    def _fit(self, part: str, recipe: Recipe, tower: str, seed: int, probes: tuple[str, ...]) -> Unit:
        config = recipe.config(tower, seed, self.classes)
        return Unit(part, recipe.label, tower, seed, recipe.side, probes, config, recipe.sets)

    def _main(self) -> Iterator[Unit]:
        """Tables 1 to 4: one seed of everything, then the next. The backbone as it is has one seed at the larger size,
        where only its probes could differ and nothing is compared with it."""
        for seed in SEEDS:
            for tower in self.towers:
                for recipe in (FT, CLIPTEX):
                    yield self._fit("main", recipe, tower, seed, ALL)
                yield Unit("main", CLIP_OWN, tower, seed, OWN_SIDE, ALL)
                if seed == SEEDS[0]:
                    yield Unit("main", CLIP, tower, seed, SIDE, ALL)

    def _roles(self) -> Iterator[Unit]:
        for seed in FEW_SEEDS:
            for recipe in ROLES:
                yield self._fit("roles", recipe, self.towers[0], seed, FEW)

    def _heads(self) -> Iterator[Unit]:
        for seed in SEEDS:
            yield self._fit("heads", THREE_LAYERS, self.towers[0], seed, FEW)

    def _tried(self) -> Iterator[Unit]:
        """Way by way; both of a pair, then the next pair."""
        for recipe in TRIED:
            for tower in self.towers:
                if recipe in tried_with(tower, self.towers):
                    for seed in recipe.seeds:
                        yield self._fit("tried", recipe, tower, seed, JUDGED)
                        if recipe.against != FT.label:
                            yield self._fit("tried", recipe.baseline(), tower, seed, JUDGED)

    def _rates(self) -> Iterator[Unit]:
        for tower in self.towers:
            for rate in RATES:
                recipe = replace(FT, label=rate_label(rate), peak_lr=rate)
                yield self._fit("rates", recipe, tower, SEEDS[0], (CALIBRATED,))


def count_units(grid: Grid, parts: Sequence[str] = PARTS) -> dict[str, int]:
    """How many there are, by part."""
    return {part: len(grid.units(part)) for part in parts}
