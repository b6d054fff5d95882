"""Weights over linear probes as a picture."""

from pathlib import Path

import numpy as np

from training.evaluate.committee.estimates import mean_of
from training.evaluate.committee.probes import CHOSEN, LADDER, MEAN, NLC, SUPER, ProbeReport
from training.evaluate.suites.zoo_plots import BLUE, GREEN, GREY, ORANGE, PINK, save

SHOWN = {MEAN: ("s", ORANGE), SUPER: ("^", PINK), NLC: ("D", BLUE), LADDER: ("o", GREEN)}


def plot_probes(report: ProbeReport, path: Path) -> None:
    """PNG at `path`: by task, each method less the probe that the 10 % choose; nothing is written without tasks."""
    from matplotlib.figure import Figure

    if not report.tasks:
        return
    names = [task.source for task in report.tasks] + ["mean"]
    figure = Figure(figsize=(9, 1.6 + 0.42 * len(names)), layout="constrained")
    axis = figure.add_subplot()
    for place, (method, (marker, color)) in enumerate(SHOWN.items()):
        found = [task.gain[method] for task in report.tasks]
        found.append(mean_of(found))
        heights = np.arange(len(names)) + 0.16 * (place - (len(SHOWN) - 1) / 2)
        reach = [100 * (each.high - each.value) for each in found]
        values = [100 * each.value for each in found]
        axis.errorbar(
            values, heights, xerr=reach, fmt=marker, color=color, markersize=5, elinewidth=1, capsize=2, label=method
        )
    axis.axvline(0, color="black", linewidth=1)
    axis.axhline(len(names) - 1.5, color=GREY, linewidth=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set(xlabel=f"points of accuracy less {CHOSEN}, with 95% intervals", title="Weights over linear probes")
    axis.grid(axis="x", alpha=0.25)
    figure.legend(fontsize=8, loc="outside right upper")
    save(figure, path)
