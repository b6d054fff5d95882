"""`python -m training.experts fit`: a backbone fine-tuned on data that lies on disk, with experts' labels beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from open_clip.model import CLIP, CustomTextCLIP

from training.config import ConfigError
from training.data.digests import KEY
from training.data.lazy_rows import LazyRows, choose_rows
from training.data.sources import DataDirs
from training.data.splits import Split
from training.distributed import World
from training.experts.errors import ExpertError
from training.experts.fitting.config import FitConfig, FitSchedule
from training.experts.fitting.fit import ALONE
from training.experts.fitting.heads import Layers
from training.experts.fitting.lazy_feed import LazyFeed
from training.experts.fitting.losses import DepthForm, Weights
from training.experts.fitting.run import FitRun, fit_model
from training.experts.labels.store import UNDECODED
from training.experts.labels.targets import TaskLabels, open_labels
from training.experts.protocol import Kind
from training.experts.resize import own_side
from training.export.backbone import Backbone

TASKS: Final = ("classes", "depth", "normals")
INDEX: Final = Path("var/experts/index")
BALANCE_PICTURES: Final = 2000
"""Of so many pictures the classes are counted, where rare ones are to count more."""


@dataclass(frozen=True, kw_only=True)
class FitData:
    """What a fit learns from. sources: empty for all that there are; labels: folders of stores, or of such folders;
    index: folder that keeps where pictures lie; threads: that read and decode."""

    data: DataDirs
    sources: tuple[str, ...] = ()
    splits: tuple[Split, ...] = (Split.TOWER_TRAIN,)
    labels: tuple[Path, ...] = ()
    index: Path = INDEX
    threads: int = 4


@dataclass(frozen=True, kw_only=True)
class FitOrder:
    """How a fit goes about it, as far as the data does not decide it; see `FitConfig`. without: tasks that are switched
    off; sides: of pictures in pixels, the first of which it will be served at, empty for the backbone's own; balance:
    power of a class's frequency by which its pixels count less (0: all alike, as in the paper; 1: classes alike)."""

    without: frozenset[str] = frozenset()
    sides: tuple[int, ...] = ()
    weights: Weights = field(default_factory=Weights)
    layers: Layers = 1
    width: int = 0
    balance: float = 0.0
    seed: int = 0
    schedule: FitSchedule = field(default_factory=FitSchedule)

    def __post_init__(self) -> None:
        for unknown in sorted(self.without - set(TASKS)):
            raise ConfigError(f'there is no task "{unknown}"; there are {", ".join(TASKS)}.')

    @property
    def active(self) -> dict[str, float]:
        """The factor of every task that is switched on."""
        factors = {name: float(getattr(self.weights, name)) for name in TASKS}
        return {name: factor for name, factor in factors.items() if name not in self.without and factor > 0}


def check_labels(labels: Sequence[TaskLabels], order: FitOrder, backbone: Backbone) -> dict[str, TaskLabels]:
    """The labels of every task that is switched on.

    Raises `ExpertError` for a task without labels, for labels of pictures that were cut otherwise than the backbone's,
    and for classes without names.
    """
    found = {each.task: each for each in labels}
    missing = [name for name in order.active if name not in found]
    if missing:
        switches = " ".join(f"--without {name}" for name in missing)
        raise ExpertError(
            f"there are no labels for {', '.join(missing)}: give their folders as --labels, or {switches}."
        )
    chosen = {name: found[name] for name in order.active}
    mode = backbone.preprocessing.resize_mode
    for each in chosen.values():
        geometry = each.stores[0].description.geometry
        if geometry.split("-")[0] != mode:
            raise ExpertError(
                f"{each.stores[0].folder}: labels of pictures that were cut another way ({geometry}) than those of "
                f"{backbone.name} ({backbone.preprocessing.geometry}); label them again, with --resize {mode}."
            )
    if "classes" in chosen and len(chosen["classes"].identity.classes) < 2:
        identity = chosen["classes"].identity
        raise ExpertError(
            f"{chosen['classes'].stores[0].folder}: {identity.name} names {len(identity.classes)} classes; "
            "segmentation needs two at least."
        )
    return chosen


def undecodable(labels: Sequence[TaskLabels]) -> list[str]:
    """Digests of pictures that could not be decoded when they were to be labelled."""
    stores = [store for each in labels for store in each.stores]
    return [digest for store in stores for digest, why in store.failures.items() if why.startswith(UNDECODED)]


def make_config(target: str, order: FitOrder, labels: dict[str, TaskLabels], backbone: Backbone) -> FitConfig:
    """What the labels' experts and the order make of a fit; without weights of classes, which need the pictures.

    Raises `ConfigError` if nothing is switched on.
    """
    model = cast(CLIP | CustomTextCLIP, backbone.model)
    off = {name: 0.0 for name in TASKS if name not in order.active}
    try:
        weights = replace(order.weights, **off)
    except ValueError as error:
        raise ConfigError(f"nothing is switched on: {error}") from error
    return FitConfig(
        backbone=target,
        sides=order.sides or (own_side(model.visual),),
        classes=len(labels["classes"].identity.classes) if "classes" in labels else 0,
        weights=weights,
        layers=order.layers,
        width=order.width,
        depth_form=depth_form(labels["depth"]) if "depth" in labels else "median",
        seed=order.seed,
        schedule=order.schedule,
    )


def depth_form(labels: TaskLabels) -> DepthForm:
    """Heads learn what is large where things are near, up to a scale and a shift, whichever an expert gives."""
    return "inverse" if labels.identity.kind is Kind.DEPTH else "median"


def class_weights(labels: TaskLabels, rows: LazyRows, balance: float) -> tuple[float, ...]:
    """How much the pixels of each class count: their share of labelled pixels to the power of -balance, such that the
    mean over pixels is 1. A class that occurs nowhere counts as the rarest. Empty for a balance of 0."""
    if balance == 0:
        return ()
    places = labels.find(rows.digests)
    labelled = np.flatnonzero((places >= 0).any(axis=1))
    chosen = labelled[np.linspace(0, len(labelled) - 1, min(len(labelled), BALANCE_PICTURES)).astype(np.int64)]
    counts = np.zeros(256)
    for place in chosen:
        counts += np.bincount(labels.at(places[place : place + 1]).ravel(), minlength=256)
    counts = counts[: len(labels.identity.classes)]
    if not counts.any():
        raise ExpertError(f"{labels.stores[0].folder}: no pixel has a class; there is nothing to balance.")
    seen, shares = counts > 0, counts / counts.sum()
    weights = np.zeros_like(shares)
    weights[seen] = shares[seen] ** -balance
    weights /= weights @ shares
    weights[~seen] = weights.max()
    return tuple(float(f"{weight:.6g}") for weight in weights)


def fit_on_data(
    backbone: Backbone,
    target: str,
    what: FitData,
    order: FitOrder,
    folder: Path,
    *,
    device: torch.device,
    world: World = ALONE,
    show: Callable[[str], None] = lambda _: None,
    progress: bool = False,
    stop_at: int | None = None,
) -> FitRun:
    """Fine-tune `backbone`, which `target` names (see `load_backbone`), going on from a checkpoint in `folder` if there
    is one. Equal options, data, machine and thread count give equal losses, however often it was interrupted.

    Raises `DataError`, `ExpertError`, `ConfigError` and `CheckpointError` with a sentence for the user.
    """
    given = open_labels(what.labels)
    labels = check_labels(given, order, backbone)
    config = make_config(target, order, labels, backbone)
    rows = choose_rows(what.data, what.splits, what.sources, what.index, world=world, progress=progress)
    chosen = rows.without(np.array(undecodable(given), KEY))
    _check_shares(config, len(chosen), world)
    if "classes" in labels:
        config = replace(config, class_weights=class_weights(labels["classes"], chosen, order.balance))
    feed = LazyFeed(
        chosen,
        replace(backbone.preprocessing, image_size=max(config.sides)),
        backbone.tokenizer,
        device,
        tuple(labels.values()),
        config.augmentation,
        config.template_share,
        what.threads,
    )
    try:
        about = describe(feed, labels, what.splits)
        show(said_of(about, len(chosen), len(rows) - len(chosen)))
        model = cast(CLIP | CustomTextCLIP, backbone.model.to(device))
        return fit_model(model, feed, config, folder, about=about, world=world, ahead=True, show=show, stop_at=stop_at)
    finally:
        feed.close()


def _check_shares(config: FitConfig, pictures: int, world: World) -> None:
    size = min(config.schedule.batch_size, pictures)
    if size < 2:
        raise ConfigError("a fit needs two pictures at least")
    if size % world.size:
        raise ConfigError(f"a batch of {size} cannot be shared out among {world.size} processes")


def describe(feed: LazyFeed, labels: dict[str, TaskLabels], splits: Collection[Split]) -> dict[str, Any]:
    """What the fit's files say of its data; `rows` is the sha256 of what digests are kept of. Raises `ExpertError` for
    labels of none of the pictures."""
    labelled = feed.labelled()
    for name, each in labels.items():
        if not labelled[name]:
            raise ExpertError(f"{each.stores[0].folder}: has labels for none of the {len(feed)} pictures.")
    return {
        "sources": list(feed.rows.sources),
        "splits": [str(split) for split in splits],
        "rows": hashlib.sha256(feed.rows.digests.tobytes()).hexdigest(),
        "labels": {
            name: {
                "expert": each.identity.name,
                "version": each.identity.version,
                "digest": each.identity.digest,
                "pictures": labelled[name],
            }
            for name, each in labels.items()
        },
    }


def said_of(about: dict[str, Any], pictures: int, left_out: int) -> str:
    """One line on the data of a fit."""
    labels = [f"{name} of {each['pictures']} by {each['expert']}" for name, each in about["labels"].items()]
    without = f" ({left_out} left out that cannot be decoded)" if left_out else ""
    return f"{pictures} pictures of {', '.join(about['sources'])}{without}; labels: {', '.join(labels) or 'none'}"
