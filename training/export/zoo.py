"""Backbones by recipe: what each is called, where it comes from, and the way of all into one model repository."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.data.sources import DataDirs
from training.export.adapted import load_any_run
from training.export.backbone import Backbone, TemperatureFitter, write_backbone
from training.export.calibration import Calibration, calibration_on
from training.export.errors import ExportError
from training.export.openclip import backbone_name, check_openclip, load_openclip
from training.export.precision import Precision
from training.export.recipe import Member, RunMember
from training.export.report import summary
from training.export.run import random_run
from training.export.temperature import temperature_fitter

# A name is a folder's name and a part of URLs.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

STORED: dict[Precision, str] = {
    "float32": "weights stored as float32",
    "float16": "weights stored as float16",
    "int8": "image tower in static int8, calibrated on pictures of the fit split, text tower stored as float16",
}


@dataclass(frozen=True)
class Planned:
    """A member whose name is settled and whose weights are loaded when its turn comes: large ones one at a time."""

    name: str
    member: Member
    load: Callable[[], Backbone]


def export_zoo(
    members: Sequence[Member], repository: Path, *, data_dir: DataDirs | None = None, random_seed: int | None = None
) -> Iterator[str]:
    """Export `members` into `repository`, one after the other; yields a few lines on each as soon as it is there.

    With `data_dir` temperatures are fitted (otherwise they are 1) and int8 is calibrated. With `random_seed` everything
    has random weights, and says so in its name. Raises `ExportError` before anything is written for members that
    cannot be, and otherwise at the first one that fails; those before it are there.
    """
    planned = [_plan(member, random_seed) for member in members]
    _check(planned, has_data=data_dir is not None)
    fitter = None if data_dir is None else temperature_fitter(data_dir)
    calibration = None if data_dir is None else calibration_on(data_dir)
    for item in planned:
        yield _export(item, repository, fitter, calibration)
    others = sorted(_present(repository) - {item.name for item in planned})
    if others:
        yield f"{repository} also holds what was there before: {', '.join(others)}"


def _plan(member: Member, random_seed: int | None) -> Planned:
    if isinstance(member, RunMember):
        # Small enough to be loaded at once, so that a broken run stops everything before anything is written.
        run = load_any_run(member.run) if random_seed is None else random_run(member.run, random_seed)
        return Planned(_named(member, run.name, random_seed), member, lambda: run)
    name, tag, random_weights = member.openclip, member.pretrained, random_seed is not None
    check_openclip(name, tag, random_weights=random_weights)
    return Planned(
        _named(member, backbone_name(name, tag, random_weights=random_weights), random_seed),
        member,
        lambda: load_openclip(name, tag, random_weights=random_weights, seed=random_seed or 0),
    )


def _named(member: Member, own: str, random_seed: int | None) -> str:
    if member.name is None:
        return own
    return member.name if random_seed is None else f"{member.name}-random"


def _check(planned: Sequence[Planned], *, has_data: bool) -> None:
    counts = Counter(item.name for item in planned)
    for name, count in counts.items():
        if not NAME.fullmatch(name):
            raise ExportError(f"{name!r} is no name for a backbone: letters, digits, '.', '_' and '-' only.")
        if count > 1:
            raise ExportError(f'{count} backbones are called "{name}": give them different names ("name" in a recipe).')
    for item in planned:
        if item.member.precision == "int8" and not has_data:
            raise ExportError(f"{item.name}: int8 is calibrated on pictures: pass --data.")


def _export(item: Planned, repository: Path, fitter: TemperatureFitter | None, calibration: Calibration | None) -> str:
    member, loaded = item.member, item.load()
    backbone = replace(
        loaded,
        name=item.name,
        provenance=f"{loaded.provenance}; {STORED[member.precision]}; licence: {member.licence}",
        votes=member.votes,
    )
    pictures = None
    if member.precision == "int8" and calibration is not None:
        pictures = calibration(backbone.preprocessing)
    try:
        graphs = write_backbone(
            repository, backbone, precision=member.precision, calibration=pictures, fit_temperature=fitter
        )
    except ExportError as error:
        raise ExportError(f"{item.name}: {error}") from error
    return summary(backbone, graphs)


def _present(repository: Path) -> set[str]:
    return {path.parent.name.removesuffix("_image") for path in repository.glob("*_image/config.pbtxt")}
