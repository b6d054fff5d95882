"""Everything that the study of experts reads, from photographs and drawings to its pack, in one go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.model_config import Preprocessing
from training.data.rows import DataError
from training.data.sources import available_sources, read_rows
from training.experts.composites import Cupboard, write_composites
from training.experts.known import SCENE_EXPERTS, load_expert
from training.experts.labels.run import LabelSettings, label_rows
from training.experts.packs.pack import save_expert_pack
from training.experts.packs.packing import SIDE, WANTED, Wanted, make_expert_pack, read_tower
from training.experts.scene_source import Photographs, write_scenes

DATA, LABELS, PACK = "data", "labels", "pack.safetensors"
"""In the folder of the study."""


@dataclass(frozen=True)
class Drawn:
    """A set that is drawn: as many pictures as `count` from the seed on. test: before photographs, and of drawings, of
    the test side."""

    name: str
    count: int
    seed: int
    test: bool = False


@dataclass(frozen=True)
class Plan:
    """What is drawn, labelled and packed. labelled: sources that get the experts' labels; backgrounds: sources of the
    photographs behind scenes and drawings; side: of all pictures and labels, in pixels."""

    scenes: tuple[Drawn, ...] = (
        Drawn("scenes_fit", 3000, 3_000_000),
        Drawn("scenes_probe", 1500, 4_000_000),
        Drawn("scenes_test", 600, 5_000_000, test=True),
    )
    composites: tuple[Drawn, ...] = (
        Drawn("composites_probe", 1200, 100_000),
        Drawn("composites_test", 400, 200_000, test=True),
    )
    labelled: tuple[str, ...] = ("flickr8k", "scenes_fit")
    backgrounds: tuple[str, ...] = ("tiny_imagenet", "flickr8k")
    side: int = SIDE
    wanted: Mapping[str, Wanted] = field(default_factory=lambda: WANTED)


def prepare_study(
    photographs: Sequence[Path],
    cupboard: Cupboard,
    runs: Sequence[Path],
    out: Path,
    *,
    plan: Plan | None = None,
    workers: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Draw the sets, label what is learnt from, and pack it all anew; the pack's file. Sets and labels that are there
    already are kept.

    photographs: folders of the photographs' Parquet files. Raises what each of these steps raises.
    """
    plan, data = plan or Plan(), out / DATA
    _check(plan, photographs, runs)
    behind = Photographs(list(photographs), plan.backgrounds)
    for drawn in plan.scenes:
        write_scenes(
            data,
            drawn.name,
            count=drawn.count,
            seed=drawn.seed,
            size=plan.side,
            test=drawn.test,
            photographs=behind,
            workers=workers,
            progress=True,
        )
    for drawn in plan.composites:
        write_composites(
            data,
            drawn.name,
            count=drawn.count,
            seed=drawn.seed,
            cupboard=cupboard,
            photographs=behind,
            size=plan.side,
            test=drawn.test,
            workers=workers,
            progress=True,
        )
    sources = [*photographs, data]
    stores = _label(plan, sources, out / LABELS, say)
    say("packing")
    pack = make_expert_pack(sources, stores, runs, wanted=plan.wanted, side=plan.side, progress=say)
    save_expert_pack(out / PACK, pack)
    return out / PACK


def _check(plan: Plan, photographs: Sequence[Path], runs: Sequence[Path]) -> None:
    """What would be missed only at the end, after all drawing and labelling: runs, and sources of photographs."""
    for run in runs:
        read_tower(run)
    drawn = {each.name for each in (*plan.scenes, *plan.composites)}
    wanted = {each.source for each in plan.wanted.values()} | set(plan.backgrounds) | set(plan.labelled)
    missing = sorted(wanted - drawn - set(available_sources(list(photographs))))
    if missing:
        raise DataError(f"{', '.join(map(str, photographs))}: no file of {', '.join(missing)}")


def _label(plan: Plan, data: Sequence[Path], labels: Path, say: Callable[[str], None]) -> list[Path]:
    """By the experts that come with the project; the folders of labels, one for each source and expert."""
    settings = LabelSettings(Preprocessing(plan.side, "shortest", "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    folders = []
    for source in plan.labelled:
        rows = list(read_rows(data, [source]))
        for name in SCENE_EXPERTS:
            folder = labels / source / name
            tally = label_rows(rows, load_expert(name), folder, settings, progress=True)
            say(f"{folder}: {tally.labelled} labelled, {tally.failed} failed, {tally.known} known already")
            folders.append(folder)
    return folders
