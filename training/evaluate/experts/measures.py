"""What is measured of a tower: names of probes, how each is summed up, and how each is fitted."""

from dataclasses import dataclass
from typing import Final, cast

from training.experts.fitting.config import FitSchedule
from training.experts.probes.dense import PROBES, SMALL_DETECTION, SMALL_SCHEDULES, ProbeKind, TaskName

LINEAR, DEEPLAB, PSP = PROBES
DENSE_TASKS: Final = ("classes", "depth", "normals")
SSD: Final = "scenes/detection/ssd"
CLASSIFIED: Final = ("cifar100", "clothing")
"""Of a source that trained the towers, and of one that did not."""
NAMED: Final = ("tiny_imagenet", "cifar100", "grocery_store")
SEARCHED: Final = "flickr8k"


def dense(task: str, kind: str, where: str = "scenes") -> str:
    """The name of a dense probe."""
    return f"{where}/{task}/{kind}"


LINEAR_PROBES: Final = (*(dense(task, LINEAR) for task in DENSE_TASKS), dense("classes", LINEAR, "composites"))
"""The dense tasks by the probe that adds least of its own; what the study is held to."""
ZERO_SHOT: Final = (*(f"{source}/zero-shot" for source in NAMED), f"{SEARCHED}/retrieval")
CLASSIFICATION: Final = tuple(f"{source}/classification" for source in CLASSIFIED)
ALL: Final = (
    *LINEAR_PROBES,
    *ZERO_SHOT,
    *(dense(task, kind) for kind in (PSP, DEEPLAB) for task in DENSE_TASKS),
    *(dense("classes", kind, "composites") for kind in (PSP, DEEPLAB)),
    SSD,
    *CLASSIFICATION,
)
FEW: Final = (*(dense(task, kind) for kind in (LINEAR, PSP) for task in DENSE_TASKS), SSD)
"""Of tables 5 and 6."""
JUDGED: Final = (*LINEAR_PROBES, *ZERO_SHOT)
"""Of what was tried: what the aims speak of."""
CALIBRATED: Final = "calibrate/retrieval"
"""What peak rates are compared by: rows that nothing is fitted to or tested on."""


@dataclass(frozen=True)
class Measure:
    """What one figure of a table is. title: of its column; percent: shown as such; higher: whether more is better."""

    metric: str
    title: str
    higher: bool = True
    percent: bool = True


BY_KIND: Final = {
    "classes": Measure("miou", "mIoU"),
    "depth": Measure("abs_rel", "abs. rel. error", higher=False, percent=False),
    "normals": Measure("within_30", "within 30°"),
    "detection": Measure("map", "mAP"),
    "classification": Measure("top1", "top-1"),
    "zero-shot": Measure("top1", "top-1"),
    "retrieval": Measure("text R@1", "R@1"),
}


def measure_of(probe: str) -> Measure:
    """What sums a probe up."""
    return BY_KIND[probe.split("/")[1]]


def probe_title(probe: str) -> str:
    """In words: what is told, where, and by which head."""
    where, task, *kind = probe.split("/")
    words = {"classes": "segmentation", "normals": "surface normals"}.get(task, task)
    return ", ".join([words, where.replace("_", " "), *kind])


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is fitted: its schedule, the width of what it has within, and of how many rows and columns of labels
    it learns from one (it is measured on all pixels)."""

    schedule: FitSchedule
    width: int = 64
    every: int = 3


SETTINGS: Final[dict[tuple[ProbeKind, TaskName], ProbeSettings]] = {
    (kind, task): ProbeSettings(schedule) for task, kinds in SMALL_SCHEDULES.items() for kind, schedule in kinds.items()
}
DETECTION: Final = ProbeSettings(SMALL_DETECTION)


def settings_of(probe: str) -> ProbeSettings | None:
    """How a probe's head is fitted; null for what has no such head."""
    _, task, *kind = probe.split("/")
    if task in DENSE_TASKS:
        return SETTINGS[cast(ProbeKind, kind[0]), cast(TaskName, task)]
    return DETECTION if task == "detection" else None


DEPTH_CAP: Final = 40.0
"""In the scenes' units: nearly all that they show lies nearer."""
