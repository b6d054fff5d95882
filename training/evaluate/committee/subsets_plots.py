"""Committees of all sizes as a picture."""

from pathlib import Path
from typing import Any

import numpy as np

from training.evaluate.committee.subsets import SubsetReport
from training.evaluate.suites.zoo_plots import BLUE, GREEN, ORANGE, save


def plot_subsets(report: SubsetReport, path: Path) -> None:
    """PNG at `path`: accuracy against GFLOPs per image; nothing is written without tasks."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    if not report.tasks:
        return
    figure = Figure(figsize=(9, 5), layout="constrained")
    axis = figure.add_subplot()
    count = len(report.backbones)
    colors: Any = colormaps["cividis_r"](np.linspace(0.05, 0.95, count))
    for size in range(1, count + 1):
        places = [place for place, members in enumerate(report.committees) if len(members) == size]
        scores = [100 * report.controller(place).value for place in places]
        label = "one backbone" if size == 1 else f"{size}, any-subset controller"
        style: dict[str, Any] = {"color": colors[size - 1], "edgecolors": "#444444", "linewidths": 0.5, "s": 34}
        axis.scatter([report.cost[place] for place in places], scores, label=label, zorder=3, **style)
    costs = [report.cost[place] for place in report.cheapest]
    lines = [("cheapest first, probability mean", ORANGE, [report.mean(place) for place in report.cheapest])]
    lines.append(("cheapest first, any-subset controller", BLUE, [report.controller(p) for p in report.cheapest]))
    if count > 1:
        alone = report.mean(report.cheapest[0])
        lines.append(("cheapest first, paper's NLC", GREEN, [alone, *(report.paper(k) for k in range(2, count + 1))]))
    for label, color, found in lines:
        axis.plot(costs, [100 * each.value for each in found], color=color, linewidth=1.4, label=label)
    # One band only: the methods' intervals are of about one width, and three on top of each other show nothing.
    found = [report.controller(place) for place in report.cheapest]
    low, high = [100 * each.low for each in found], [100 * each.high for each in found]
    axis.fill_between(
        costs, low, high, color=BLUE, alpha=0.12, linewidth=0, label="95% interval of the any-subset controller"
    )
    axis.set(
        xlabel="GFLOPs per image",
        ylabel=f"top-1 accuracy, mean over {len(report.tasks)} tasks (%)",
        title="Committees of every size",
    )
    axis.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside right upper")
    save(figure, path)
