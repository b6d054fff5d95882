"""A pack with what was made of it so far: decoded once, used by every unit of a process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from open_clip.model import CLIP
from torch import Tensor

from service.pipeline.labels import LabelSet
from training.adapters.pairs import Pairs
from training.evaluate.experts.units import Unit
from training.evaluate.prompts import templates_of
from training.experts.packs.feed import PackedTargets, PackFeed, exact_targets, fit_targets, pack_pairs, set_objects
from training.experts.packs.pack import ExpertPack
from training.experts.probes.boxes import Objects
from training.experts.probes.dense import thinned
from training.experts.targets import Targets
from training.models.tokenizer import encode
from training.models.towers import build_model

Made = TypeVar("Made")


@dataclass(frozen=True)
class Prompts:
    """Sentences around the classes of a source: `ids` int64[p, L], `class_of` int64[p]; `truth` int64[n], of its
    pictures."""

    ids: Tensor
    class_of: Tensor
    truth: Tensor


@dataclass(frozen=True)
class Searched:
    """Distinct captions of a source, `ids` int64[m, L], and which of them belong to which picture, bool[n, m]."""

    ids: Tensor
    owns: Tensor


@dataclass(eq=False)
class Shelf:
    """Everything lies on `device`, but the pictures and labels that fits read."""

    pack: ExpertPack
    device: torch.device
    _made: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def _once(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        if key not in self._made:
            self._made[key] = make()
        return cast(Made, self._made[key])

    def model(self, tower: str) -> CLIP:
        """A backbone of its own, in float32 from its float16 weights."""
        packed = self.pack.towers[tower]
        model = build_model(packed.model)
        model.load_state_dict({name: value.float() for name, value in packed.weights.items()})
        return model.eval().to(self.device)

    def pixels(self, name: str) -> npt.NDArray[np.uint8]:
        """uint8[n, side, side, 3] of a set."""
        return self._once(("pixels", name), lambda: self.pack.chosen(name).decoded())

    def pictures(self, name: str) -> Tensor:
        """The same on the device."""
        return torch.from_numpy(self.pixels(name)).to(self.device)

    def feed(self, unit: Unit) -> PackFeed:
        """What a unit's fit reads. Raises `ValueError` for a unit without a fit."""
        if unit.config is None:
            raise ValueError(f"{unit.title}: nothing is fitted")
        names = tuple(name for name, _ in unit.sets)
        pixels = {name: self.pixels(name) for name in names}
        pairs: Pairs = self._once(
            ("pairs", unit.tower, names), lambda: pack_pairs(self.pack, unit.tower, names, pixels)
        )
        if unit.config.tasks.any:
            targets = self._once(("fit", unit.sets), lambda: fit_targets(self.pack, dict(unit.sets)))
        else:
            targets = PackedTargets(self.pack.side, len(pairs), {}, {})
        return PackFeed(pairs, targets, self.device, unit.config.augmentation, unit.config.template_share)

    def targets(self, name: str, every: int = 1) -> Targets:
        """Exact labels of a set, of every `every` rows and columns the middle ones."""
        return self._once(
            ("targets", name, every), lambda: thinned(exact_targets(self.pack, name), every).to(self.device)
        )

    def class_names(self, name: str) -> tuple[str, ...]:
        """Of a set's exact class maps, the background first."""
        return self.pack.chosen(name).maps["exact-classes"].classes

    def objects(self, name: str) -> list[Objects]:
        """Boxes of a set; their classes are those of its maps, without the background."""
        rows = self.pack.chosen(name).rows
        return self._once(("objects", name), lambda: set_objects(rows, self.class_names(name)[1:]))

    def truth(self, name: str) -> npt.NDArray[np.int64]:
        """int64[n], the label of every picture as a place among the set's classes."""
        chosen = self.pack.chosen(name)
        place = {label: number for number, label in enumerate(chosen.classes)}
        return np.array([place[str(row.label)] for row in chosen.rows], dtype=np.int64)

    def prompts(self, name: str, tower: str) -> Prompts:
        """What a labelled set is named by, in a tower's tokens."""

        def make() -> Prompts:
            chosen = self.pack.chosen(name)
            labels = LabelSet(chosen.classes, tuple((each,) for each in chosen.classes), templates_of(chosen.source))
            sentences, class_of = labels.prompts()
            ids = torch.from_numpy(encode(self.pack.towers[tower].tokenizer, sentences))
            truth = torch.from_numpy(self.truth(name))
            return Prompts(*(each.to(self.device) for each in (ids, torch.from_numpy(class_of), truth)))

        return self._once(("prompts", name, tower), make)

    def searched(self, name: str, tower: str) -> Searched:
        """What a captioned set is searched by, in a tower's tokens."""

        def make() -> Searched:
            rows = self.pack.chosen(name).rows
            numbers: dict[str, int] = {}
            own = [[numbers.setdefault(each.lower(), len(numbers)) for each in row.captions] for row in rows]
            owns = torch.zeros(len(rows), len(numbers), dtype=torch.bool)
            for picture, captions in enumerate(own):
                owns[picture, captions] = True
            ids = torch.from_numpy(encode(self.pack.towers[tower].tokenizer, list(numbers)))
            return Searched(ids.to(self.device), owns.to(self.device))

        return self._once(("searched", name, tower), make)
