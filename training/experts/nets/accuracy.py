"""How good an expert is on scenes that it did not see, beside answers that know no picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from training.data.sources import source_files
from training.experts.dense_source import read_extras
from training.experts.metrics import (
    absolute_relative_errors,
    angles,
    class_ious,
    confusions,
    mean_angles,
    share_within,
    ssi_errors,
)
from training.experts.nets.data import DenseSet, truth_of
from training.experts.nets.tasks import FARTHEST, Task
from training.experts.protocol import Dense, Expert

CHUNK = 64

Answers = Callable[[npt.NDArray[np.int64]], Tensor]
"""What an expert, or one that knows no picture, says of the pictures of a set: as `Targets` has it."""


@dataclass(frozen=True)
class Accuracy:
    """Of one expert. expert, baseline: by the measure's name; by_backdrop: the expert's, of the scenes of each kind;
    by_class: intersection over union, where it answers with classes."""

    task: str
    expert_name: str
    expert_version: str
    expert_digest: str
    held_out: str
    pictures: int
    baseline_is: str
    expert: Mapping[str, float]
    baseline: Mapping[str, float]
    by_backdrop: Mapping[str, Mapping[str, float]]
    by_class: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)

    def sentence(self) -> str:
        """The expert's figures, each with the baseline's."""
        found = (f"{name} {value:.3f} ({self.baseline[name]:.3f})" for name, value in self.expert.items())
        return f"{', '.join(found)} on {self.pictures} pictures of {self.held_out}; in brackets: {self.baseline_is}"


BASELINES = {
    Task.CLASSES: "the most frequent class everywhere",
    Task.DEPTH: "the mean disparity of every place, aligned to each picture like the expert's",
    Task.NORMALS: "the mean normal of every place",
}


def measure(expert: Expert, held_out: DenseSet, learnt: DenseSet, data: Sequence[Path], source: str) -> Accuracy:
    """The expert's accuracy on `held_out`, which is `source` in `data`; `learnt`: what the baseline knows."""
    backdrops = _backdrops(held_out, data, source)
    flat = baseline_answer(learnt)
    known = _figures(held_out, lambda rows: _answers(expert, held_out, rows), np.arange(len(held_out)))
    groups = {
        name: _figures(held_out, lambda rows: _answers(expert, held_out, rows), np.flatnonzero(backdrops == name))
        for name in np.unique(backdrops).tolist()
    }
    everyone = np.arange(len(held_out))
    blind = _figures(held_out, lambda rows: flat.expand(len(rows), *flat.shape[1:]), everyone)
    identity = expert.identity
    return Accuracy(
        task=str(held_out.task),
        expert_name=identity.name,
        expert_version=identity.version,
        expert_digest=identity.digest,
        held_out=source,
        pictures=len(held_out),
        baseline_is=BASELINES[held_out.task],
        expert=known.means,
        baseline=blind.means,
        by_backdrop={name: each.means for name, each in groups.items()},
        by_class=known.by_class,
    )


def baseline_answer(learnt: DenseSet) -> Tensor:
    """One answer for all pictures, as `Targets` has it, [1, ...]."""
    if learnt.task is Task.CLASSES:
        most = int(learnt.class_counts().argmax())
        return torch.full((1, *learnt.images.shape[1:3]), most)
    total = torch.zeros(1)
    count = torch.zeros(1)
    for start in range(0, len(learnt), CHUNK):
        truth = truth_of(learnt.task, learnt.targets(np.arange(start, min(start + CHUNK, len(learnt))))).double()
        total = total + torch.nan_to_num(truth).sum(dim=0, keepdim=True)
        count = count + (~truth.isnan()).sum(dim=0, keepdim=True)
    mean = (total / count.clamp(min=1)).float()
    return functional.normalize(mean, dim=1) if learnt.task is Task.NORMALS else mean


def _answers(expert: Expert, dense: DenseSet, rows: npt.NDArray[np.int64]) -> Tensor:
    found: Dense = expert(dense.images[torch.from_numpy(rows)].numpy())
    if dense.task is Task.CLASSES:
        return torch.from_numpy(found.astype(np.int64))
    return torch.from_numpy(found if dense.task is Task.DEPTH else np.ascontiguousarray(found.transpose(0, 3, 1, 2)))


@dataclass(frozen=True)
class Figures:
    """means: by the measure's name; by_class: empty for other tasks."""

    means: dict[str, float]
    by_class: dict[str, float]


def _figures(dense: DenseSet, answers: Answers, rows: npt.NDArray[np.int64]) -> Figures:
    parts = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    pairs = ((answers(part), truth_of(dense.task, dense.targets(part))) for part in parts)
    if dense.task is Task.CLASSES:
        names = dense.identity.classes
        total = torch.stack([confusions(*pair, len(names)).sum(dim=0) for pair in pairs]).sum(dim=0)
        ious = class_ious(total)
        right = total.diagonal().sum() / total.sum()
        means = {"mean IoU": float(ious.nanmean()), "pixels right": float(right)}
        by_class = {name: iou for name, iou in zip(names, ious.tolist(), strict=True) if iou == iou}
        return Figures(_rounded(means), _rounded(by_class))
    if dense.task is Task.DEPTH:
        errors = [
            (absolute_relative_errors(found, 1 / truth, cap=FARTHEST), ssi_errors(found, truth))
            for found, truth in pairs
        ]
        return Figures(_named(("absolute relative error", "scale-shift invariant error"), errors), {})
    turned = (angles(*pair) for pair in pairs)
    return Figures(
        _named(
            ("share within 30 degrees", "mean angle in degrees"), [(share_within(a), mean_angles(a)) for a in turned]
        ),
        {},
    )


def _named(names: Sequence[str], parts: Sequence[tuple[Tensor, ...]]) -> dict[str, float]:
    """Means over pictures, those left out that know nothing."""
    columns = (torch.cat(column) for column in zip(*parts, strict=True))
    return _rounded({name: float(column.nanmean()) for name, column in zip(names, columns, strict=True)})


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in values.items()}


def _backdrops(dense: DenseSet, data: Sequence[Path], source: str) -> npt.NDArray[np.str_]:
    """What is behind the objects of each picture, as the rows say."""
    extras: dict[str, dict[str, Any]] = {}
    for path in source_files(list(data))[source]:
        extras |= read_extras(path)
    return np.array([str(extras[digest].get("backdrop", "unknown")) for digest in dense.digests])
