"""The detection probe fed from rows: boxes in `extra` become objects, objects goals, and the probe is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from training.experts.errors import ExpertError
from training.experts.fitting.config import FitSchedule
from training.experts.maps import MapShape, evaluated
from training.experts.probes.boxes import Detections, Objects
from training.experts.probes.dense import fit_head
from training.experts.probes.detection import SsdProbe, detect, goals_loss, match_all

WIDTH: Final = 64


def objects_of(extra: Mapping[str, Any], classes: Sequence[str]) -> Objects:
    """The objects of one picture, whose row has `boxes` [[class, x0, y0, x1, y1], ...] in pixels and `size`, its side.

    classes: names as in class maps, the background first; objects' numbers are from 0 without it. Raises `ExpertError`
    for an `extra` without these, or a class that is none of them.
    """
    numbers = {name: number for number, name in enumerate(classes[1:])}
    try:
        boxes, side = extra["boxes"], float(extra["size"])
        found = [(numbers[name], [float(edge) / side for edge in edges]) for name, *edges in boxes]
        corners = torch.tensor([edges for _, edges in found]).view(-1, 4)
        return Objects(corners, torch.tensor([number for number, _ in found], dtype=torch.int64))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ExpertError(f"boxes of a row cannot be read: {type(error).__name__}: {error}") from error


def detection_probe(shape: MapShape, classes: int, *, width: int = WIDTH, seed: int = 0) -> SsdProbe:
    """An `SsdProbe` whose weights follow from the seed. classes: without the background."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SsdProbe(shape, classes, width=width)


def fit_detection_probe(
    probe: SsdProbe, places: Tensor, objects: Sequence[Objects], schedule: FitSchedule, *, seed: int
) -> list[float]:
    """`fit_head` for boxes; the objects are those of the pictures whose maps are given, float32[n, c, h, w]."""
    if len(objects) != len(places):
        raise ExpertError(f"{len(places)} maps with the objects of {len(objects)} pictures.")
    goals = match_all(objects, probe.anchors.cpu()).to(places.device)

    def loss_of(head: torch.nn.Module, batch: Tensor, rows: Tensor) -> Tensor:
        logits, codes = head(batch)
        return goals_loss(logits, codes, goals.take(rows))

    return fit_head(probe, places, loss_of, schedule, seed=seed)


@torch.no_grad()
def find_objects(probe: SsdProbe, places: Tensor, *, batch: int = 64) -> list[Detections]:
    """What a fitted probe finds on maps that it has not seen; on the CPU, as objects are, wherever the probe is."""
    found: list[Detections] = []
    anchors = probe.anchors.cpu()
    with evaluated(probe):
        for part in torch.split(places, batch):
            logits, codes = probe(part)
            found += detect(logits.cpu(), codes.cpu(), anchors)
    return found
