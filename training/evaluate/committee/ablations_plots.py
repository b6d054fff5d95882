"""The forms that the paper leaves open, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.evaluate.committee.ablations import SERVED, UNIT, AblationReport, TaskAblations
from training.evaluate.committee.estimates import mean_of
from training.evaluate.suites.zoo_plots import BLUE, GREY, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_ablations(report: AblationReport, path: Path) -> None:
    """PNG at `path`: every form less the served one, by task and in the mean; nothing is written without tasks."""
    from matplotlib.figure import Figure

    if not report.forms:
        return
    groups = [(report.forms, SERVED)] + ([(report.features, UNIT)] if report.features else [])
    lines = [len(tasks[0].difference) for tasks, _ in groups]
    figure = Figure(figsize=(8, 1.4 + 0.55 * sum(lines) + 0.6 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=lines)[:, 0]
    for axis, (tasks, first) in zip(axes, groups, strict=True):
        _differences(axis, tasks, first)
    axes[-1].set_xlabel("points of accuracy; grey: tasks, blue: their mean with its 95% interval")
    save(figure, path)


def _differences(axis: "Axes", tasks: Sequence[TaskAblations], first: str) -> None:
    names = list(tasks[0].difference)
    for place, name in enumerate(names):
        found = [task.difference[name] for task in tasks]
        values = [100 * each.value for each in found]
        axis.plot(values, np.full(len(values), place), "o", color=GREY, markersize=4, alpha=0.5)
        mean = mean_of(found)
        reach = [100 * (mean.high - mean.value)]
        axis.errorbar([100 * mean.value], [place], xerr=reach, fmt="D", color=BLUE, capsize=3, markersize=6)
    axis.axvline(0, color="black", linewidth=1)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.25)
    axis.set_title(f"less {first}", fontsize=10)
