"""What a pack holds as a fit and its probes take it: labels stay encoded until a batch wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.adapters.pairs import Pairs, make_pairs
from training.batches import step_generator
from training.data.augment import Augmentation
from training.experts.errors import ExpertError
from training.experts.fitting.feed import WHOLE, DenseBatch, Integers, augment_densely, unsided
from training.experts.labels.encoding import Encoded, decode
from training.experts.metrics import disparity
from training.experts.packs.pack import ExpertPack, PackedMaps, PackedRow
from training.experts.probes.boxes import Objects
from training.experts.protocol import UNKNOWN_CLASS, Kind
from training.experts.targets import NO_CLASS, Targets

TASKS = ("classes", "depth", "normals")


@dataclass(frozen=True, eq=False)
class PackedTargets:
    """Encoded labels of n pictures of `side` pixels by task, None for a picture without; kinds: by task.

    as_disparity: whether a depth is given as its disparity, so that experts of both kinds teach one head.
    """

    side: int
    count: int
    kinds: Mapping[str, Kind]
    maps: Mapping[str, Sequence[Encoded | None]]
    as_disparity: bool = False

    def __len__(self) -> int:
        return self.count

    def take(self, rows: npt.NDArray[np.int64]) -> Targets:
        """The targets of the pictures `rows`, int64[b]."""
        found = {task: self._decoded(task, rows) for task in self.maps}
        return Targets(found.get("classes"), found.get("depth"), found.get("normals"))

    def _decoded(self, task: str, rows: npt.NDArray[np.int64]) -> Tensor:
        kind, maps = self.kinds[task], [self.maps[task][row] for row in rows.tolist()]
        shape = (self.side, self.side, *([3] if kind is Kind.NORMALS else []))
        if kind is Kind.CLASSES:
            unknown = np.full(shape, UNKNOWN_CLASS, np.uint8)
            found = np.stack([unknown if each is None else decode(kind, each) for each in maps]).astype(np.int64)
            return torch.from_numpy(np.where(found == UNKNOWN_CLASS, NO_CLASS, found))
        nothing = np.full(shape, np.nan, np.float32)
        values = torch.from_numpy(np.stack([nothing if each is None else decode(kind, each) for each in maps]))
        if kind is Kind.NORMALS:
            return values.permute(0, 3, 1, 2).contiguous()
        return disparity(values) if kind is Kind.DEPTH and self.as_disparity else values


def fit_targets(pack: ExpertPack, sets: Mapping[str, str]) -> PackedTargets:
    """What a head learns on `sets`: by set the origin of its labels, "pseudo" or "exact". Depths are disparities.

    Raises `ExpertError` where sets have different classes.
    """
    chosen = [[pack.chosen(name).maps[f"{origin}-{task}"] for name, origin in sets.items()] for task in TASKS]
    kinds: dict[str, Kind] = {}
    maps: dict[str, list[Encoded | None]] = {}
    for task, parts in zip(TASKS, chosen, strict=True):
        if len({part.classes for part in parts}) > 1:
            raise ExpertError(f"{', '.join(sets)}: labels of different classes cannot teach one head.")
        kinds[task] = parts[0].kind
        maps[task] = [each for part in parts for each in _alike(part, parts[0].kind)]
    return PackedTargets(pack.side, sum(len(pack.chosen(name)) for name in sets), kinds, maps, as_disparity=True)


def _alike(part: PackedMaps, kind: Kind) -> Sequence[Encoded | None]:
    if part.kind is not kind:
        raise ExpertError(f"{part.by} gives {part.kind}, another expert of the same head {kind}.")
    return part.maps


def exact_targets(pack: ExpertPack, name: str) -> Targets:
    """All exact labels of the set `name`; depths as they are."""
    chosen = pack.chosen(name)
    maps = {key.removeprefix("exact-"): each for key, each in chosen.maps.items() if key.startswith("exact-")}
    packed = PackedTargets(
        pack.side,
        len(chosen),
        {task: each.kind for task, each in maps.items()},
        {task: each.maps for task, each in maps.items()},
    )
    return packed.take(np.arange(len(chosen)))


def set_objects(rows: Sequence[PackedRow], names: Sequence[str]) -> list[Objects]:
    """The boxes of pictures; a class is its place in `names`."""
    place = {name: number for number, name in enumerate(names)}
    found = []
    for row in rows:
        corners = torch.tensor([box[1:] for box in row.boxes], dtype=torch.float32).reshape(-1, 4)
        found.append(Objects(corners, torch.tensor([place[box[0]] for box in row.boxes], dtype=torch.int64)))
    return found


def pack_pairs(pack: ExpertPack, tower: str, sets: Sequence[str], pixels: Mapping[str, npt.NDArray[np.uint8]]) -> Pairs:
    """The captions of `sets` that are `unsided`, in a tower's tokens; pixels: decoded pictures by set."""
    rows = [(name, row) for name in sets for row in pack.chosen(name).rows]
    return make_pairs(
        np.concatenate([pixels[name] for name in sets]),
        [unsided(row.captions) for _, row in rows],
        [row.label for _, row in rows],
        [name for name, _ in rows],
        pack.towers[tower].tokenizer,
        torch.device("cpu"),
    )


@dataclass(frozen=True, eq=False)
class PackFeed:
    """A `Feed` of a pack's pictures, in memory, and its labels, decoded batch by batch.

    Raises `ExpertError` if there are not as many labels as pictures.
    """

    pairs: Pairs
    targets: PackedTargets
    device: torch.device
    augmentation: Augmentation
    template_share: float = 0.5

    def __post_init__(self) -> None:
        if len(self.targets) != len(self.pairs):
            raise ExpertError(f"{len(self.pairs)} pictures with the targets of {len(self.targets)}.")

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, rows: Integers, *, side: int, seed: int, step: int, part: slice = WHOLE) -> DenseBatch:
        """As `Feed.batch`. Labels lie at the pictures' own size, and are looked up at `side` pixels."""
        texts = self.pairs.draw(rows, np.random.default_rng((seed, step, 1)), self.template_share)
        distinct, own = np.unique(texts[part], return_inverse=True)
        at = torch.from_numpy(rows)
        images, targets = augment_densely(
            self.pairs.images[at[part]],
            self.targets.take(rows[part]),
            self.augmentation,
            step_generator(seed, step),
            side,
            of=len(rows),
            part=part,
        )
        return DenseBatch(
            images=images.to(self.device),
            ids=self.pairs.ids[torch.from_numpy(distinct)].to(self.device),
            own=torch.from_numpy(own).to(self.device),
            match=self.pairs.matches(at, torch.from_numpy(texts)).to(self.device),
            targets=targets.to(self.device),
        )
