"""Probes on a frozen tower: what its maps tell a small head that learns one task from them (the paper's section 4.3).

The tower sees every picture once; what is fitted, as often as one likes, are heads on the maps that it gave.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import ASPP

from training.adapters.adapt import normalised
from training.batches import epoch_order
from training.data.augment import soften
from training.experts.errors import ExpertError
from training.experts.fitting.config import FitSchedule
from training.experts.fitting.losses import class_loss, normalised_depth
from training.experts.maps import MapShape, evaluated, tower_features
from training.experts.metrics import (
    absolute_relative_errors,
    angles,
    attenuated_angular_loss,
    confusions,
    disparity,
    mean_angles,
    mean_iou,
    share_within,
    ssi_errors,
    ssi_loss,
)
from training.experts.psp import PyramidPooling, convolution
from training.experts.targets import Targets

ProbeKind = Literal["linear", "deeplab", "psp"]
TaskName = Literal["classes", "depth", "normals"]
PROBES: tuple[ProbeKind, ...] = ("linear", "deeplab", "psp")

# DeepLabv3's dilations of 6, 12 and 18 belong to the 32 by 32 places of pictures of 512 pixels.
DILATIONS, DILATIONS_SIDE = (6, 12, 18), 32

_SLOW = FitSchedule(epochs=50, batch_size=16, warmup_steps=1000, peak_lr=1e-4)
# Table 8. Its rates are for tens of thousands of pictures; a probe on fewer wants higher ones.
PAPER_SCHEDULES: dict[str, FitSchedule] = {
    "classes": FitSchedule(epochs=50, batch_size=32, warmup_steps=500, peak_lr=3e-5, last_lr=3e-6),
    "depth": _SLOW,
    "normals": FitSchedule(epochs=50, batch_size=16, warmup_steps=1000, peak_lr=1e-5),
    "detection": FitSchedule(epochs=200, batch_size=32, warmup_steps=500, first_lr=9e-5, peak_lr=9e-4),
}


def _short(epochs: int, peak_lr: float) -> FitSchedule:
    return FitSchedule(
        epochs=epochs,
        batch_size=32,
        warmup_steps=100,
        first_lr=peak_lr / 100,
        peak_lr=peak_lr,
        last_lr=peak_lr / 100,
        weight_decay=0.01,
    )


# For some 1,500 pictures of 96 pixels, with heads of width 64 and every third pixel, tried on a ViT's 12 by 12 places.
# One core takes 2 to 9 seconds for a linear head, 17 to 35 for PSPNet's, 25 to 80 for DeepLabv3's. Segmentation wants
# the most steps. Fitted to 1,200 of the pictures, on the other 300 a linear head has an mIoU of 0.085 (0.089 at twice
# the length; 0.042 without looking). PSPNet's has 0.077 after 7 epochs at 3e-3, 0.113 after 14, 0.125 after 12 at 1e-2;
# DeepLabv3's, half of which drops out, 0.052 after 6 epochs at 3e-3 or 1e-2, 0.097 after 12 at 1e-2, 0.125 after 18.
SMALL_SCHEDULES: dict[TaskName, dict[ProbeKind, FitSchedule]] = {
    "classes": {"linear": _short(20, 3e-2), "psp": _short(12, 1e-2), "deeplab": _short(18, 1e-2)},
    "depth": {"linear": _short(10, 1e-2), "psp": _short(6, 3e-3), "deeplab": _short(6, 3e-3)},
    "normals": {"linear": _short(10, 1e-2), "psp": _short(6, 3e-3), "deeplab": _short(6, 3e-3)},
}
SMALL_DETECTION = _short(12, 5e-3)
"""46 seconds of a core for 1,500 scenes, with a probe of width 64."""


@dataclass(frozen=True)
class DenseTask:
    """What a probe is to tell of every pixel. classes: how many there are, for segmentation; cap: the greatest depth
    that counts, in the unit of the targets."""

    name: TaskName
    classes: int = 0
    cap: float = 10.0

    def __post_init__(self) -> None:
        if (self.name == "classes") != (self.classes >= 2):
            raise ValueError("segmentation, and nothing else, has two classes or more")

    @property
    def outputs(self) -> int:
        """Channels of a probe: classes, disparity, or a normal and how sure it is."""
        return {"classes": self.classes, "depth": 1, "normals": 4}[self.name]

    def loss(self, found: Tensor, targets: Targets) -> Tensor:
        """What the paper's probes minimise, a scalar: cross-entropy, the scale- and shift-invariant loss of
        disparities, or the angle with learned attenuation. found: float32[n, outputs, h, w]."""
        if self.name == "classes":
            return class_loss(found, _there(targets.classes, self.name))
        if self.name == "depth":
            return ssi_loss(found[:, 0], self._disparity(targets))
        return attenuated_angular_loss(found, _there(targets.normals, self.name))

    @torch.no_grad()
    def measure(self, found: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Of every picture by itself, the first axis of each value: `confusion` int64[n, classes, classes]; or
        `abs_rel` and `ssi`, float[n]; or `within_30`, a share, and `angle` in degrees, float64[n]."""
        if self.name == "classes":
            truth = _there(targets.classes, self.name)
            return {"confusion": confusions(found.argmax(dim=1), truth, self.classes)}
        if self.name == "depth":
            depth = _there(targets.depth, self.name)
            errors = absolute_relative_errors(found[:, 0], depth, cap=self.cap)
            return {"abs_rel": errors, "ssi": ssi_errors(found[:, 0], self._disparity(targets))}
        off = angles(functional.normalize(found[:, :3], dim=1), _there(targets.normals, self.name))
        return {"within_30": share_within(off), "angle": mean_angles(off)}

    def _disparity(self, targets: Targets) -> Tensor:
        """Of depths up to the cap, scale and shift taken away, so that losses of different scenes weigh alike."""
        depth = _there(targets.depth, self.name)
        return normalised_depth(disparity(torch.where(depth <= self.cap, depth, torch.nan)), "median")


def _there(target: Tensor | None, name: str) -> Tensor:
    if target is None:
        raise ExpertError(f"a probe of {name} needs targets of {name}.")
    return target


def summary(measured: dict[str, Tensor]) -> dict[str, float]:
    """One number of each measure: the mean over pictures; for confusions, summed over them first, the mean IoU."""
    scores = {name: values.nanmean().item() for name, values in measured.items() if name != "confusion"}
    if "confusion" in measured:
        scores["miou"] = mean_iou(measured["confusion"].sum(dim=0)).item()
    return scores


def dense_probe(kind: ProbeKind, shape: MapShape, outputs: int, *, width: int = 256, seed: int = 0) -> nn.Module:
    """A head float32[n, c, h, w] -> float32[n, outputs, h, w] on maps of a shape: a point-wise convolution, DeepLabv3's
    (Chen et al. 2017) or PSPNet's (Zhao et al. 2017). Dilations shrink with the map, to one at least."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "linear":
            return nn.Conv2d(shape.channels, outputs, 1)
        if kind == "psp":
            body: list[nn.Module] = [PyramidPooling(shape.channels, width)]
        else:
            scale = max(shape.rows, shape.columns) / DILATIONS_SIDE
            rates = [max(1, round(each * scale)) for each in DILATIONS]
            body = [ASPP(shape.channels, rates, width), convolution(width, width, 3)]
        return nn.Sequential(*body, nn.Conv2d(width, outputs, 1))


@torch.no_grad()
def frozen_maps(visual: nn.Module, images: Tensor, *, side: int, softened: bool = True, batch: int = 64) -> Tensor:
    """Maps of pictures uint8[n, h, w, 3] by a frozen tower, at `side` pixels: float32[n, c, rows, columns].

    They are softened as when the zoo's towers serve (see `augment.soften`), unless `softened` is False.
    """
    found = []
    with evaluated(visual):
        for part in torch.split(images, batch):
            planes = part.permute(0, 3, 1, 2).float() / 255
            if planes.shape[-2:] != (side, side):
                planes = functional.interpolate(planes, size=(side, side), mode="bilinear", antialias=True)
            found.append(tower_features(visual, normalised(soften(planes) if softened else planes)).places.float())
    return torch.cat(found)


def fit_head(
    head: nn.Module,
    places: Tensor,
    loss_of: Callable[[nn.Module, Tensor, Tensor], Tensor],
    schedule: FitSchedule,
    *,
    seed: int,
) -> list[float]:
    """Fit a head to a frozen tower's maps, float32[n, c, h, w], in place; returns the loss before every step.

    loss_of: the head, the maps of a batch and its rows, int64[b], give the loss. AdamW, in an order that the seed
    draws. Raises `ExpertError` for a single picture, whose batch has no statistics, `FloatingPointError` if the loss is
    lost.
    """
    if len(places) < 2:
        raise ExpertError("a probe needs two pictures at least.")
    optimizer = torch.optim.AdamW(head.parameters(), lr=schedule.peak_lr, weight_decay=schedule.weight_decay)
    per_epoch, total = schedule.steps(len(places))
    losses: list[float] = []
    head.train()
    for epoch in range(schedule.epochs):
        order = torch.from_numpy(epoch_order([""] * len(places), {}, seed, epoch)).to(places.device)
        for position in range(per_epoch):
            rows = order[position * schedule.batch_size :][: schedule.batch_size]
            torch.manual_seed(seed + len(losses))  # what DeepLabv3's head drops
            loss = loss_of(head, places[rows], rows)
            losses.append(loss.item())
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the probe's loss is {losses[-1]} at step {len(losses) - 1}")
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(len(losses) - 1, total)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            nn.utils.clip_grad_norm_(head.parameters(), schedule.grad_norm)
            optimizer.step()
    head.eval()
    return losses


def enlarged(found: Tensor, size: tuple[int, int]) -> Tensor:
    """A probe's outputs float32[n, o, rows, columns] at `size` pixels, bilinear, as DeepLabv3 and PSPNet end."""
    return functional.interpolate(found, size=size, mode="bilinear", align_corners=False)


def fit_dense_probe(
    probe: nn.Module,
    task: DenseTask,
    places: Tensor,
    targets: Targets,
    schedule: FitSchedule,
    *,
    seed: int,
    every: int = 1,
) -> list[float]:
    """`fit_head` for a dense task; targets are those of the pictures whose maps are given, of any size.

    every: the loss looks at every so many-th row and column of pixels, see `thinned`; what a probe answers there is
    what it would answer in the whole picture.
    """
    if len(targets) != len(places):
        raise ExpertError(f"{len(places)} maps with the targets of {len(targets)} pictures.")
    targets = thinned(targets, every)

    def loss_of(head: nn.Module, batch: Tensor, rows: Tensor) -> Tensor:
        chosen = targets.take(rows)
        return task.loss(enlarged(head(batch), chosen.size), chosen)

    return fit_head(probe, places, loss_of, schedule, seed=seed)


def thinned(targets: Targets, every: int) -> Targets:
    """Of every `every` rows and columns of pixels the middle ones.

    A place of a tower's map covers many pixels that say the same, and nine times the pixels cost nine times the time.
    `every` is odd and divides the sides: the middles then lie where the pixels of a smaller picture would, and what is
    enlarged to that size is what is enlarged to the full size, at these pixels. Raises `ValueError` otherwise.
    """
    if every % 2 == 0 or any(side % every for side in targets.size):
        raise ValueError(f"every {every}th pixel of {targets.size}: an odd number that divides both is needed")
    if every == 1:
        return targets
    start = every // 2

    def thin(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[..., start::every, start::every].contiguous()

    return Targets(thin(targets.classes), thin(targets.depth), thin(targets.normals))


@torch.no_grad()
def measure_dense_probe(
    probe: nn.Module, task: DenseTask, places: Tensor, targets: Targets, *, batch: int = 64
) -> dict[str, Tensor]:
    """`DenseTask.measure` of a fitted probe on the maps of pictures that it has not seen."""
    parts = []
    with evaluated(probe):
        for rows in torch.split(torch.arange(len(places), device=places.device), batch):
            chosen = targets.take(rows)
            parts.append(task.measure(enlarged(probe(places[rows]), chosen.size), chosen))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
