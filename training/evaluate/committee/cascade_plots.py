"""The cascade as a picture: realised disagreement against the promise, and where images leave."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluate.committee.cascade import CascadeReport
from training.evaluate.statistics import generator
from training.evaluate.suites.zoo_plots import BLUE, ORANGE, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_cascade(report: CascadeReport, path: Path) -> None:
    """PNG at `path`; nothing is written where nothing was calibrated."""
    from matplotlib.figure import Figure

    if not report.trials:
        return
    epsilons = report.epsilons
    sources = list(dict.fromkeys(each.source for each in report.trials))
    figure = Figure(figsize=(4.6 * (1 + len(epsilons)), 1.9 + 0.42 * len(sources)), layout="constrained")
    left, *others = figure.subplots(1, 1 + len(epsilons), sharey=True)
    _disagreements(left, report, sources)
    for axis, epsilon in zip(others, epsilons, strict=True):
        _exits(axis, report, sources, epsilon)
    left.set_yticks(range(len(sources)), [_label(report, source) for source in sources])
    left.set_ylim(len(sources) - 0.5, -0.5)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=len(epsilons), fontsize=8)
    handles, labels = others[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), fontsize=8)
    save(figure, path)


def _label(report: CascadeReport, source: str) -> str:
    return f"{source}\n({100 * report.task(source).accuracy_full:.0f} % right)"


def _disagreements(axis: "Axes", report: CascadeReport, sources: list[str]) -> None:
    for place, (epsilon, color) in enumerate(zip(report.epsilons, (BLUE, ORANGE), strict=False)):
        for each in report.at(epsilon):
            count = len(each.disagreements)
            jitter = generator(f"jitter {each.source}").uniform(-0.12, 0.12, count)
            heights = sources.index(each.source) + (place - 0.5) * 0.4 + jitter
            axis.plot([100 * share for share in each.disagreements], heights, ".", color=color, markersize=4, alpha=0.7)
        broken, count = report.broken(epsilon)
        label = f"ε = {epsilon:.0%}: {broken} of {count} beyond"
        axis.axvline(100 * epsilon, color=color, linestyle="--", linewidth=1.2, label=label)
    axis.set_xlim(left=0)
    axis.set_xlabel("answers that the cascade changes (%), one dot per calibration")
    axis.set_title("Realised disagreement", fontsize=10)
    axis.grid(axis="x", alpha=0.25)


def _exits(axis: "Axes", report: CascadeReport, sources: list[str], epsilon: float) -> None:
    from matplotlib import colormaps

    count = len(report.backbones)
    colors: Any = colormaps["cividis_r"](np.linspace(0.08, 0.95, count))
    found = {each.source: each for each in report.at(epsilon)}
    places = [sources.index(source) for source in found]
    left = np.zeros(len(found))
    for asked in range(count):
        widths = np.array([100 * each.exits[asked] for each in found.values()])
        label = f"{asked + 1} asked"
        axis.barh(places, widths, left=left, height=0.6, color=colors[asked], label=label)
        left += widths
    for place, each in zip(places, found.values(), strict=True):
        share = 100 * each.gflops / sum(report.gflops)
        axis.text(101, place, f"{share:.0f} %", va="center", fontsize=9)
    axis.set_xlim(0, 116)
    axis.set_xlabel("images that leave (%)")
    axis.set_title(f"Exits at ε = {epsilon:.0%}; right: GFLOPs of the full committee's", fontsize=10)
