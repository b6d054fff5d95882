"""What is known of scenes without looking: a probe that does not beat this has found nothing in its tower."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from training.evaluate.experts.measures import DENSE_TASKS, DEPTH_CAP
from training.experts.fitting.losses import normalised_depth
from training.experts.metrics import disparity
from training.experts.packs.feed import exact_targets
from training.experts.packs.pack import ExpertPack
from training.experts.probes.dense import DenseTask, summary
from training.experts.targets import Targets

WHERE: Final = ("scenes", "composites")
BATCH: Final = 64
DIGITS: Final = 6


@torch.no_grad()
def scores_by_place(pack: ExpertPack) -> dict[str, dict[str, float]]:
    """By place of probing and task ("scenes/depth") what is measured of the one answer for all test pictures that is,
    at every pixel, what the pictures that probes learn from have there: the most frequent class, the mean of their
    disparities (without scale and shift), the mean of their normals."""
    found: dict[str, dict[str, float]] = {}
    for where in WHERE:
        seen, unseen = (exact_targets(pack, f"{where}_{part}") for part in ("probe", "test"))
        for name in DENSE_TASKS:
            if getattr(seen, name) is None:
                continue
            classes = len(pack.chosen(f"{where}_probe").maps["exact-classes"].classes)
            task = DenseTask(name, classes if name == "classes" else 0, cap=DEPTH_CAP)
            scores = _measured(task, usual_answer(task, seen), unseen)
            found[f"{where}/{name}"] = {metric: round(value, DIGITS) for metric, value in scores.items()}
    return found


def usual_answer(task: DenseTask, seen: Targets) -> Tensor:
    """float32[outputs, h, w], as a probe would give it. Raises `ValueError` for a task without targets."""
    if task.name == "classes" and seen.classes is not None:
        return torch.stack([(seen.classes == label).sum(dim=0).float() for label in range(task.classes)])
    if task.name == "depth" and seen.depth is not None:
        near = torch.where(seen.depth <= task.cap, seen.depth, torch.nan)
        return torch.nan_to_num(normalised_depth(disparity(near), "median").nanmean(dim=0))[None]
    if task.name == "normals" and seen.normals is not None:
        mean = torch.nan_to_num(seen.normals.nanmean(dim=0))
        return torch.cat([mean, torch.ones_like(mean[:1])])
    raise ValueError(f"there are no targets of {task.name}")


def _measured(task: DenseTask, answer: Tensor, unseen: Targets) -> dict[str, float]:
    parts = []
    for rows in torch.split(torch.arange(len(unseen)), BATCH):
        parts.append(task.measure(answer.expand(len(rows), *answer.shape), unseen.take(rows)))
    return summary({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
