"""How many parameters a design adds: by the paper's formulas, and its ratios to the backbone."""

from dataclasses import dataclass

import open_clip
import torch
from open_clip.model import CLIP

from training.adapters.attach import TOWERS, Tower, shape_of
from training.adapters.build import TowerShape
from training.adapters.design import Design, design

PAPER_BACKBONES = ("ViT-B-16", "ViT-L-14")


@dataclass(frozen=True)
class Shape:
    """A backbone as far as counting goes; `parameters`: all of its weights, by tower and together."""

    name: str
    towers: dict[Tower, TowerShape]
    parameters: dict[Tower, int]
    total: int


def meta_clip(name: str) -> CLIP:
    """One of OpenCLIP's models by name, of shapes alone: no memory, no weights."""
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        return CLIP(**config)


def backbone_shape(name: str) -> Shape:
    """The shape of one of OpenCLIP's models. Raises `AdapterError` if adapters do not fit it."""
    clip = meta_clip(name)
    vision, total = (sum(each.numel() for each in module.parameters()) for module in (clip.visual, clip))
    language = total - vision - clip.logit_scale.numel()
    return Shape(
        name, {tower: shape_of(clip, tower) for tower in TOWERS}, {"vision": vision, "language": language}, total
    )


def added_by_formula(chosen: Design, shape: TowerShape) -> int:
    """Parameters that `chosen` adds to one tower, written as the paper counts them (no biases)."""
    d, n, blocks = shape.width, chosen.n, shape.blocks
    if chosen.kind == "none":
        return 0
    if chosen.kind == "on-top":
        return 2 * d * (blocks * n * d // 2)
    if chosen.kind == "clip-adapter":
        return 2 * shape.embedding * (chosen.width or max(1, shape.embedding // 4))
    attention, feed_forward = (chosen.where in (place, "both") for place in ("attention", "feed-forward"))
    at_attention, at_feed_forward = _per_place(chosen, d)
    return blocks * (at_attention * attention + at_feed_forward * feed_forward)


def _per_place(chosen: Design, d: int) -> tuple[int, int]:
    """Added in one block: at the attention, after the feed-forward part."""
    scales, low = len(chosen.scales), chosen.rank * d
    bottlenecks = chosen.n * 2 * d * chosen.width
    if chosen.kind == "msa":
        return scales * d * d, bottlenecks
    if chosen.kind == "msa-lo":
        # One A per scale and one B; one A and a B per branch. Separate: both per scale, at both places.
        return ((scales + 1) * low,) * 2 if chosen.factors == "shared" else (2 * scales * low,) * 2
    if chosen.kind == "bottleneck":
        return bottlenecks, bottlenecks
    if chosen.kind == "reverse-bottleneck":
        return (2 * d * (chosen.n * d // 2),) * 2
    return (chosen.n * d * d,) * 2  # pyramid and MLP: N units of d * d


def added_to(chosen: Design, shape: Shape) -> int:
    """Parameters that `chosen` adds to the towers it is for."""
    return sum(added_by_formula(chosen, shape.towers[each]) for each in TOWERS if chosen.towers in ("both", each))


def share_of(chosen: Design, shape: Shape) -> float:
    """Added parameters relative to all of the backbone's."""
    return added_to(chosen, shape) / shape.total


# What tables 1 and 2 say in their last row, for both backbones alike, and the readings that it is compared with.
READINGS: tuple[tuple[str, float, tuple[tuple[str, Design], ...]], ...] = (
    (
        "w/o MSA",
        5.3,
        (
            ("one bottleneck of 128 after the feed-forward part", design("without-msa")),
            ("two averaged there (eq. 5), or one at each of both places", design("without-msa", n=2)),
        ),
    ),
    ("V-MSA", 37.3, (("`msa-vision`", design("msa-vision")),)),
    ("L-MSA", 37.3, (("`msa-language`", design("msa-language")),)),
    ("MSA", 74.7, (("`msa`", design("msa")), ("with two bottlenecks", design("msa", n=2)))),
    (
        "MSA-Lo",
        2.2,
        (("`msa-lo`", design("msa-lo")), ("no factor shared", design("msa-lo", factors="separate"))),
    ),
)


def ratio_table() -> str:
    """The paper's ratios beside what the formulas give for its two backbones, as Markdown."""
    shapes = [backbone_shape(name) for name in PAPER_BACKBONES]
    lines = [
        "| in the paper | its ratio, % | counted as | ViT-B/16, % | ViT-L/14, % |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, ratio, readings in READINGS:
        for index, (words, chosen) in enumerate(readings):
            shares = " | ".join(f"{100 * share_of(chosen, shape):.1f}" for shape in shapes)
            left = f"{name} | {ratio}" if index == 0 else " | "
            lines.append(f"| {left} | {words} | {shares} |")
    return "\n".join(lines)


def square_units(ratio: float, bottlenecks: int, shape: Shape) -> float:
    """How many d * d matrices per block of both towers would explain `ratio` (percent of all weights), if that many
    bottlenecks of 128 per block are in it."""
    units = sum(tower.blocks * tower.width**2 for tower in shape.towers.values())
    narrow = sum(2 * tower.blocks * tower.width * 128 for tower in shape.towers.values())
    return (ratio / 100 * shape.total - bottlenecks * narrow) / units
