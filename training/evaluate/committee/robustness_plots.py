"""Pictures made worse, as a picture: accuracy and weights against strength."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluate.committee.corruptions import CORRUPTIONS, STRENGTHS
from training.evaluate.committee.robustness import MEAN, NLC, RobustnessReport
from training.evaluate.suites.zoo_plots import BLUE, ORANGE, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "ov^sDPX*<>"


def plot_robustness(report: RobustnessReport, path: Path) -> None:
    """PNG at `path`: a column per corruption; nothing is written without tasks."""
    from matplotlib.figure import Figure

    if not report.tasks:
        return
    figure = Figure(figsize=(2.5 * len(CORRUPTIONS) + 1.6, 5.6), layout="constrained")
    axes = figure.subplots(2, len(CORRUPTIONS), sharex=True, sharey="row")
    for column, corruption in enumerate(CORRUPTIONS):
        _accuracies(axes[0, column], report, corruption)
        _weights(axes[1, column], report, corruption)
        axes[0, column].set_title(corruption, fontsize=10)
    axes[0, 0].set_ylabel(f"accuracy, {len(report.tasks)} tasks (%)")
    axes[1, 0].set_ylabel("share of the weights (%)")
    figure.supxlabel("strength (0: as they are)", fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    save(figure, path)


def _colors(report: RobustnessReport) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0, 0.85, len(report.backbones)))


def _accuracies(axis: "Axes", report: RobustnessReport, corruption: str) -> None:
    strengths = (0, *STRENGTHS)
    for place, name in enumerate(report.backbones):
        values = [100 * report.accuracy(corruption, strength, name).value for strength in strengths]
        marker = MARKERS[place % len(MARKERS)]
        axis.plot(strengths, values, marker=marker, color=_colors(report)[place], linewidth=1, markersize=4, label=name)
    for name, color in ((MEAN, ORANGE), (NLC, BLUE)):
        found = [report.accuracy(corruption, strength, name) for strength in strengths]
        axis.plot(strengths, [100 * each.value for each in found], color=color, linewidth=2.4, label=name)
        axis.fill_between(
            strengths, [100 * each.low for each in found], [100 * each.high for each in found], color=color, alpha=0.1
        )
    axis.set_xticks(strengths)
    axis.grid(alpha=0.25)


def _weights(axis: "Axes", report: RobustnessReport, corruption: str) -> None:
    strengths = (0, *STRENGTHS)
    for place, name in enumerate(report.backbones):
        values = [100 * report.weight(corruption, strength, name) for strength in strengths]
        marker = MARKERS[place % len(MARKERS)]
        axis.plot(strengths, values, marker=marker, color=_colors(report)[place], linewidth=1, markersize=4)
    axis.grid(alpha=0.25)
