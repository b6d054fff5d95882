"""The experts report as pictures. Colours are Okabe and Ito's, made for the colour-blind."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from training.evaluate.adapters.findings import Spread
from training.evaluate.experts.aims import seen_shares
from training.evaluate.experts.bench import SHEET
from training.evaluate.experts.findings import Findings
from training.evaluate.experts.grid import CLIPTEX, FT
from training.evaluate.experts.measures import LINEAR, dense
from training.evaluate.experts.report import ExpertsReport
from training.evaluate.experts.runner import DRAWN, state_name
from training.evaluate.experts.tables import NAMES
from training.evaluate.records import States
from training.evaluate.suites.zoo_plots import BLUE, GREY, ORANGE, save
from training.experts.packs.pack import ExpertPack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TERMS: Final = ("clip", "classes", "depth", "normals")
LOW, HIGH = 2, 98
"""Percentiles of a principal axis that become black and full."""

Floats = npt.NDArray[np.float32]


def write_plots(report: ExpertsReport, out: Path) -> tuple[str, ...]:
    """`classes.png` and `terms.png` in `out`, those for which there is anything to show; their names."""
    findings, drawn = Findings(report), []
    gains = {
        tower: findings.class_gains(tower, CLIPTEX.label, FT.label, dense("classes", LINEAR)) for tower in report.towers
    }
    if any(gains.values()):
        plot_classes(findings, gains, out / "classes.png")
        drawn.append("classes")
    if any(each.terms for each in report.groups if each.label in (FT.label, CLIPTEX.label)):
        plot_terms(findings, out / "terms.png")
        drawn.append("terms")
    return tuple(drawn)


def plot_classes(findings: Findings, gains: Mapping[str, Mapping[str, Spread]], path: Path) -> None:
    """PNG at `path`: figure 2, how often experts see a class (a), and what its IoU gains by backbone (b)."""
    from matplotlib.figure import Figure

    report, seen = findings.report, seen_shares(findings)
    names = sorted(report.taught[1:], key=lambda name: -seen[name])
    figure = Figure(figsize=(9, 2.5 * (1 + len(gains))), layout="constrained")
    axes = figure.subplots(1 + len(gains), 1, sharex=True)
    axes[0].bar(names, [100 * seen[name] for name in names], color=GREY)
    axes[0].set_title("(a) share of pictures on which the experts see a class (%)", fontsize=9)
    for axis, (tower, found) in zip(axes[1:], gains.items(), strict=True):
        for place, name in enumerate(names):
            if name in found:
                _bar(axis, place, found[name])
        axis.set_title(f"(b) {tower}: IoU of CLIPTeX less that of CLIP-FT, linear probe (points)", fontsize=9)
        axis.axhline(0, color=GREY, linewidth=0.8)
    axes[-1].tick_params(axis="x", labelrotation=60)
    _say_where(figure, report, "95% t intervals over seeds; ")
    save(figure, path)


def _bar(axis: "Axes", place: int, found: Spread) -> None:
    color = BLUE if found.mean >= 0 else ORANGE
    reach = None if found.high is None else 100 * (found.high - found.mean)
    axis.bar([place], [100 * found.mean], yerr=reach, color=color, ecolor=GREY, capsize=2)


def plot_terms(findings: Findings, path: Path) -> None:
    """PNG at `path`: every term of the loss, CLIP-FT beside CLIPTeX, a row for each backbone."""
    from matplotlib.figure import Figure

    report = findings.report
    figure = Figure(figsize=(11, 2.6 * len(report.towers)), layout="constrained")
    axes = figure.subplots(len(report.towers), len(TERMS), squeeze=False)
    for row, tower in zip(axes, report.towers, strict=True):
        for axis, term in zip(row, TERMS, strict=True):
            for label, color in ((FT.label, ORANGE), (CLIPTEX.label, BLUE)):
                group = findings.group(tower, label)
                if group is not None and term in group.terms:
                    axis.plot(*zip(*group.terms[term], strict=True), color=color, label=NAMES[label])
            axis.set_title(f"{tower}: {term}", fontsize=9)
            axis.set_xlabel("step", fontsize=8)
            axis.grid(alpha=0.25)
        if row[0].lines:
            row[0].legend(fontsize=7)
    _say_where(figure, report, "fits of the first seed; ")
    save(figure, path)


def _say_where(figure: "Figure", report: ExpertsReport, before: str) -> None:
    figure.suptitle(f"{before}units on {'; '.join(report.machines)}", fontsize=7, color=GREY)


def write_features(pack: ExpertPack, states: States, out: Path) -> tuple[str, ...]:
    """`features-TOWER.png` in `out` for every tower of which the features of several models were kept; their names."""
    names = []
    for tower in pack.towers:
        found = {label: states.get(state_name(tower, label), {}).get("places") for label in DRAWN}
        maps = {label: places.float().numpy() for label, places in found.items() if places is not None}
        if len(maps) > 1:
            plot_features(sheet_pictures(pack), maps, tower, out / f"features-{tower}.png")
            names.append(f"features-{tower}")
    return tuple(names)


def sheet_pictures(pack: ExpertPack) -> npt.NDArray[np.uint8]:
    """The pictures of `SHEET`, uint8[n, side, side, 3]."""
    parts = []
    for name, count in SHEET:
        chosen = pack.chosen(name)
        parts.append(chosen.decoded()[chosen.without_photographs(count)])
    return np.concatenate(parts)


def plot_features(pictures: npt.NDArray[np.uint8], maps: Mapping[str, Floats], tower: str, path: Path) -> None:
    """PNG at `path`: a row for every picture, uint8[n, s, s, 3], and beside it its features, float32[n, c, rows,
    columns] by label, as colours."""
    from matplotlib.figure import Figure

    columns: list[tuple[str, Sequence[Any]]] = [("picture", list(pictures))]
    axes_of = aligned([principal_axes(places) for places in maps.values()])
    columns += [(NAMES[label], list(colours(found))) for label, found in zip(maps, axes_of, strict=True)]
    figure = Figure(figsize=(1.2 * len(columns), 1.2 * len(pictures) + 0.4), layout="constrained")
    axes = figure.subplots(len(pictures), len(columns), squeeze=False)
    for column, (title, images) in enumerate(columns):
        axes[0, column].set_title(title, fontsize=8)
        for row, image in enumerate(images):
            axes[row, column].imshow(image, interpolation="nearest")
            axes[row, column].axis("off")
    figure.suptitle(f"{tower}, seed 0", fontsize=8, color=GREY)
    save(figure, path)


def principal_axes(places: Floats) -> Floats:
    """Features float32[n, c, rows, columns] on the three axes of most variance over all of them: float32[n, rows,
    columns, 3]."""
    n, channels, rows, columns = places.shape
    flat = places.transpose(0, 2, 3, 1).reshape(-1, channels)
    centred = flat - flat.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return np.asarray((centred @ axes[:, ::-1][:, :3]).reshape(n, rows, columns, 3), dtype=np.float32)


def aligned(models: Sequence[Floats]) -> list[Floats]:
    """Axes of every model, float32[..., 3], in the order and direction in which they resemble those of the first most:
    what is alike then has one colour, though an axis by itself has no sign."""
    first, found = models[0].reshape(-1, 3), []
    for model in models:
        flat = model.reshape(-1, 3)
        links = np.corrcoef(first.T, flat.T)[:3, 3:]
        order = max(
            permutations(range(3)), key=lambda places: sum(abs(links[row, at]) for row, at in enumerate(places))
        )
        signs = np.array([1 if links[row, at] >= 0 else -1 for row, at in enumerate(order)], dtype=np.float32)
        found.append(model[..., list(order)] * signs)
    return found


def colours(axes: Floats) -> Floats:
    """float32[..., 3] in 0..1: every axis between its percentiles `LOW` and `HIGH`."""
    low, high = np.percentile(axes.reshape(-1, 3), [LOW, HIGH], axis=0)
    return np.asarray(np.clip((axes - low) / np.maximum(high - low, 1e-9), 0, 1), dtype=np.float32)
