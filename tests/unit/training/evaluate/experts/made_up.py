"""A small pack around a random `vit-s`, and units that nobody computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from training.evaluate.experts.grid import CLIP, CLIP_OWN, FT, OWN_SIDE, PARTS, SIDE, Grid
from training.evaluate.experts.measures import measure_of
from training.evaluate.experts.report import ExpertsReport, SetFacts, grouped
from training.evaluate.experts.units import Result, Unit, told
from training.experts.labels.encoding import Encoded, encode
from training.experts.packs.pack import Box, ExpertPack, PackedMaps, PackedRow, PackedSet, PackedTower, encode_picture
from training.experts.protocol import Dense, Kind
from training.experts.scenes import CLASSES, Scene, make_scene
from training.models.tokenizer import train_tokenizer
from training.models.towers import build_model

MACHINE = "a made-up machine"
PIXELS = 48
COUNTS = {
    "photographs": 4,
    "scenes_fit": 4,
    "scenes_probe": 4,
    "scenes_test": 6,
    "composites_probe": 4,
    "composites_test": 3,
}
LABELLED = ("tiny_imagenet", "cifar100", "grocery_store", "clothing", "cifar100_fit", "clothing_fit")
NAMES = ("chair", "dog", "tree")
TAUGHT = ("background", "ball", "box")

Score = Callable[[Unit, str], float]
"""By unit and probe, what is found."""


def small_pack() -> ExpertPack:
    """Every set of the study, of a few scenes of `PIXELS` pixels, whose labels stand for the experts' as well."""
    torch.manual_seed(0)
    model, words = build_model("vit-s"), [*NAMES, *(f"a photo of a {name}" for name in NAMES)]
    tokenizer = train_tokenizer(words, vocab_size=model.vocab_size, context_length=model.context_length)
    tower = PackedTower("vit-s", {name: value.half() for name, value in model.state_dict().items()}, tokenizer)
    scenes = [make_scene(seed, PIXELS) for seed in range(8)]
    sets = {name: dense_set(name, scenes[:count]) for name, count in COUNTS.items()}
    sets |= {name: labelled_set(name, scenes) for name in LABELLED}
    sets["flickr8k"] = replace(dense_set("flickr8k", scenes[:4]), maps={})
    return ExpertPack(PIXELS, {"vit-s": tower}, sets)


def dense_set(name: str, scenes: Sequence[Scene]) -> PackedSet:
    """Scenes with exact labels; of what is fitted on, depth is disparity, and the same labels are the experts'."""
    fitted = name in ("photographs", "scenes_fit")
    kinds = {"classes": Kind.CLASSES, "depth": Kind.DISPARITY if fitted else Kind.DEPTH, "normals": Kind.NORMALS}
    maps = {f"exact-{task}": exact_maps(kind, scenes) for task, kind in kinds.items()}
    if fitted:
        maps |= {key.replace("exact", "pseudo"): each for key, each in maps.items()}
    rows = [PackedRow(scene.captions, None, f"{name}{number}", _boxes(scene)) for number, scene in enumerate(scenes)]
    return PackedSet(name, tuple(rows), tuple(encode_picture(scene.image) for scene in scenes), (), maps)


def _boxes(scene: Scene) -> tuple[Box, ...]:
    found = []
    for each in scene.objects:
        left, top, right, bottom = (corner / PIXELS for corner in each.box)
        found.append((each.name, left, top, right, bottom))
    return tuple(found)


def exact_maps(kind: Kind, scenes: Sequence[Scene]) -> PackedMaps:
    """The labels of scenes as a pack keeps them."""
    names = {Kind.CLASSES: "classes", Kind.DEPTH: "depth", Kind.DISPARITY: "disparity", Kind.NORMALS: "normals"}
    found: list[Dense] = [getattr(each, names[kind]) for each in scenes]
    known = [encode(kind, each) if kind is Kind.CLASSES or np.isfinite(each).any() else None for each in found]
    return PackedMaps(kind, "exact", CLASSES if kind is Kind.CLASSES else (), tuple(known))


def labelled_set(name: str, scenes: Sequence[Scene]) -> PackedSet:
    """Six pictures of three classes."""
    rows = tuple(PackedRow((), NAMES[number % 3], f"{name}{number}") for number in range(6))
    pictures = tuple(encode_picture(scene.image) for scene in scenes[:6])
    return PackedSet(name.removesuffix("_fit"), rows, pictures, NAMES)


def square_map(place: int, size: int = 8) -> Encoded:
    """A class map that is class `place` in one corner and background elsewhere."""
    found = np.zeros((size, size), dtype=np.uint8)
    found[:2, :2] = place
    return encode(Kind.CLASSES, found)


def result(unit: Unit, score: Score, *, lost: bool = False) -> Result:
    """What a unit would have found."""
    scores = {probe: dict.fromkeys(_metrics(probe), score(unit, probe)) for probe in unit.probes}
    ious: dict[str, list[float | None]] = {
        probe: [0.9, *(score(unit, probe) + 0.1 * place for place in range(len(TAUGHT) - 1))]
        for probe in unit.probes
        if probe.split("/")[1] == "classes"
    }
    return Result(
        key=unit.key("pack"),
        part=unit.part,
        label=unit.label,
        tower=unit.tower,
        seed=unit.seed,
        side=unit.side,
        config={} if unit.config is None else told(unit.config),
        sets=[list(each) for each in unit.sets],
        pictures=0 if unit.config is None else 6000,
        steps=0 if unit.config is None else 748,
        terms={} if unit.config is None else {"clip": [[10, 2.0], [20, 1.5]]},
        scores={} if lost else scores,
        ious={} if lost else ious,
        fit_seconds=60.0,
        probe_seconds=30.0,
        machine=MACHINE,
        lost=lost,
    )


def _metrics(probe: str) -> list[str]:
    if probe.endswith("/retrieval"):
        return [f"{kind} R@{k}" for kind in ("text", "image") for k in (1, 5, 10)]
    return [measure_of(probe).metric]


def everything(score: Score, parts: Sequence[str] = PARTS) -> list[Result]:
    """All units of the study."""
    grid = Grid(len(TAUGHT))
    return [result(unit, score) for part in parts for unit in grid.units(part)]


def better_with_experts(unit: Unit, probe: str) -> float:
    """Experts add a tenth to every dense task, and nothing elsewhere; seeds differ a little, alike for all."""
    value = 0.3 + 0.001 * unit.seed + (0.02 if unit.label not in (CLIP, CLIP_OWN) else 0.0)
    if unit.config is not None and unit.config.tasks.any and not _is_kept(probe):
        value += (0.1 + 0.002 * unit.seed) * (1 if measure_of(probe).higher else -1)
    return value


def _is_kept(probe: str) -> bool:
    return probe.split("/")[1] in ("zero-shot", "retrieval", "classification")


def report_of(results: Sequence[Result]) -> ExpertsReport:
    """The report that such units give."""
    return ExpertsReport(
        suite="experts",
        pack="0" * 64,
        machines={MACHINE: len(results)} if results else {},
        towers=("vit-s", "resnet-l"),
        sets={
            "photographs": SetFacts("flickr8k", 3000, {"pseudo-classes": ("an expert", 2990)}),
            "scenes_fit": SetFacts("scenes_fit", 1000, {"pseudo-classes": ("an expert", 1000)}),
        },
        classes={"scenes": TAUGHT, "composites": ("background", "ball", "cat")},
        taught=TAUGHT,
        frequency={"photographs": {"ball": 0.1, "box": 0.2}, "scenes_fit": {"ball": 0.5, "box": 0.2}},
        groups=grouped(results),
    )


__all__ = ["FT", "OWN_SIDE", "SIDE", "better_with_experts", "everything", "report_of", "result", "small_pack"]
