"""Labels on disk as the targets of a fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from training.data.digests import Keys
from training.experts.errors import ExpertError
from training.experts.labels.store import DESCRIPTION, NOWHERE, LabelStore
from training.experts.protocol import UNKNOWN_CLASS, Dense, Identity, Kind
from training.experts.targets import NO_CLASS, Targets

Places = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TaskLabels:
    """The stores of one task, all of one expert: `classes`, `depth` (also where it is a disparity) or `normals`."""

    task: str
    stores: tuple[LabelStore, ...]

    @property
    def identity(self) -> Identity:
        """Of the expert."""
        return self.stores[0].description.identity

    @property
    def size(self) -> int:
        """Side of the maps in pixels."""
        return self.stores[0].description.size

    def find(self, digests: Sequence[str] | Keys) -> Places:
        """int32[n, stores]: where the labels of n images lie. See `at`."""
        return np.stack([store.find(digests) for store in self.stores], axis=1)

    def at(self, places: Places) -> Dense:
        """The maps at int32[n, stores] that `find` gave, of the first store that has one; see `LabelStore.at`.

        Raises `ExpertError` for a class that the expert has no name for.
        """
        first = (places != NOWHERE).argmax(axis=1)
        found = self.stores[0].at(np.where(first == 0, places[:, 0], NOWHERE).astype(np.int32))
        for number, store in enumerate(self.stores[1:], start=1):
            chosen = np.flatnonzero(first == number)
            found[chosen] = store.at(places[chosen, number])
        names = self.identity.classes
        if self.task == "classes" and names:
            unnamed = np.unique(found[(found >= len(names)) & (found != UNKNOWN_CLASS)])
            if len(unnamed):
                raise ExpertError(
                    f"{self.stores[0].folder}: a map has class {unnamed[0]}; {self.identity.name} names {len(names)} "
                    f"classes, from 0 to {len(names) - 1}."
                )
        return found


def open_labels(folders: Iterable[Path]) -> tuple[TaskLabels, ...]:
    """The labels in `folders`, each a store or a folder of stores. Raises `ExpertError` as `tasks_of` does, and for a
    folder without any."""
    found: dict[Path, LabelStore] = {}
    for folder in folders:
        inside = [folder] if (folder / DESCRIPTION).exists() else [p.parent for p in folder.glob(f"*/{DESCRIPTION}")]
        if not inside:
            raise ExpertError(f"{folder}: no labels here.")
        for each in sorted(inside):
            found.setdefault(each.resolve(), LabelStore(each))
    return tasks_of(list(found.values()))


def tasks_of(stores: Sequence[LabelStore]) -> tuple[TaskLabels, ...]:
    """Stores by their task.

    Raises `ExpertError` for two experts of one task, for labels of pictures cut in several ways, and of several sizes.
    """
    geometries = {store.description.geometry for store in stores}
    if len(geometries) > 1:
        raise ExpertError(
            f"the labels belong to pictures that were cut in several ways: {', '.join(sorted(geometries))}."
        )
    sizes = {store.description.size for store in stores}
    if len(sizes) > 1:
        raise ExpertError(f"the labels are maps of several sizes: {', '.join(map(str, sorted(sizes)))} pixels.")
    by_task: dict[str, list[LabelStore]] = {}
    for store in stores:
        identity = store.description.identity
        same = by_task.setdefault("depth" if identity.kind is Kind.DISPARITY else str(identity.kind), [])
        if same and same[0].description.identity != identity:
            task = "depth" if identity.kind is Kind.DISPARITY else identity.kind
            raise ExpertError(f"{same[0].folder} and {store.folder} both have labels for {task}, of different experts.")
        same.append(store)
    return tuple(TaskLabels(task, tuple(same)) for task, same in sorted(by_task.items()))


def targets_of(maps: Mapping[str, Dense]) -> Targets:
    """Maps by task, as `TaskLabels.at` gives them, as targets."""
    classes = depth = normals = None
    if "classes" in maps:
        found = maps["classes"]
        classes = torch.from_numpy(np.where(found == UNKNOWN_CLASS, NO_CLASS, found.astype(np.int64)))
    if "depth" in maps:
        depth = torch.from_numpy(maps["depth"])
    if "normals" in maps:
        normals = torch.from_numpy(maps["normals"]).permute(0, 3, 1, 2).contiguous()
    return Targets(classes, depth, normals)


def load_targets(digests: Sequence[str], stores: Sequence[LabelStore]) -> Targets:
    """What the experts of `stores` say of n images, in the order of `digests`; images without a label have none.

    A disparity is passed on as it is, large where things are near: which of the two a depth head learns is a matter of
    the expert. Raises `ExpertError` as `tasks_of` does.
    """
    return targets_of({each.task: each.at(each.find(digests)) for each in tasks_of(stores)})
