"""The retrieval report as pictures. Colours are Okabe and Ito's, made for the colour-blind; shapes differ besides."""

from pathlib import Path
from typing import TYPE_CHECKING

from training.evaluate.retrieval.aims import title
from training.evaluate.retrieval.pairs import WORDS
from training.evaluate.retrieval.report import DirectionReport, K, RetrievalReport
from training.evaluate.suites.zoo_plots import BLUE, GREEN, GREY, ORANGE, PINK, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLACK, SKY, RED, YELLOW = "#000000", "#56B4E9", "#D55E00", "#F0E442"
BACKBONES = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY)
MARKERS = ("o", "s", "^", "v", "P", "X", "h", "d")


def write_plots(report: RetrievalReport, out: Path) -> None:
    """`frontier.png` and `weights.png` in `out`."""
    plot_frontier(report, out / "frontier.png")
    plot_weights(report, out / "weights.png")


def plot_frontier(report: RetrievalReport, path: Path) -> None:
    """PNG at `path`: for every set and kind of query, recall at 10 against relative GFLOPs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1 + 2.9 * len(report.sets)), layout="constrained")
    axes = figure.subplots(len(report.sets), 2, sharex=True, squeeze=False)
    for line, found in zip(axes, report.sets, strict=True):
        for axis, direction in zip(line, found.directions, strict=True):
            _frontier(axis, direction)
            axis.set_title(f"{title(found)}, {WORDS[direction.kind]}", fontsize=10)
        line[0].set_ylabel(f"R@{K} (%)")
    for axis in axes[-1]:
        axis.set_xlabel("GFLOPs per query, % of the whole committee's")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=8, loc="outside right upper")
    save(figure, path)


def _frontier(axis: "Axes", direction: DirectionReport) -> None:
    curve = sorted((100 * point.gflops_share, 100 * point.recall) for point in direction.curve)
    axis.plot(*zip(*curve, strict=True), color=BLACK, linewidth=1.2, label="cascade, any threshold", zorder=1)
    for place, (name, found) in enumerate(direction.backbones.items()):
        color, marker = BACKBONES[place % len(BACKBONES)], MARKERS[place % len(MARKERS)]
        _point(axis, found.gflops_share, found.recall[K].value, color, marker, name)
    committees = direction.committees
    _point(axis, committees["mean"].gflops_share, committees["mean"].recall[K].value, GREY, "D", "mean of logits")
    shipped = committees["cascade"]
    reach = [[shipped.recall[K].value - shipped.recall[K].low], [shipped.recall[K].high - shipped.recall[K].value]]
    axis.errorbar(
        [100 * shipped.gflops_share],
        [100 * shipped.recall[K].value],
        yerr=[[100 * end[0]] for end in reach],
        fmt="*",
        color=RED,
        markersize=13,
        capsize=3,
        elinewidth=1,
        label="cascade as shipped, 95%",
        zorder=4,
    )
    axis.axhline(100 * committees["nlc"].recall[K].value, color=BLACK, linestyle=":", linewidth=1, label="committee")
    axis.set_xlim(0, 105)
    axis.grid(alpha=0.25)


def _point(axis: "Axes", share: float, recall: float, color: str, marker: str, label: str) -> None:
    axis.plot([100 * share], [100 * recall], marker, color=color, markersize=7, label=label, zorder=3)


def plot_weights(report: RetrievalReport, path: Path) -> None:
    """PNG at `path`: by set, each backbone's mean share of the score."""
    from matplotlib.figure import Figure

    sets = [found for found in report.sets if not found.synthetic]
    figure = Figure(figsize=(11, 1.2 + 0.55 * len(sets)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for place, axis in enumerate(axes):
        directions = [found.directions[place] for found in sets]
        left = [0.0] * len(sets)
        for number, name in enumerate(report.backbones):
            widths = [100 * direction.weights[name] for direction in directions]
            axis.barh(range(len(sets)), widths, left=left, color=BACKBONES[number % len(BACKBONES)], label=name)
            for line, (start, width) in enumerate(zip(left, widths, strict=True)):
                if width >= 5:
                    middle = start + width / 2
                    axis.text(middle, line, f"{width:.0f}", ha="center", va="center", fontsize=8, color="white")
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axis.set(title=WORDS[directions[0].kind], xlabel="mean share of the score (%)", xlim=(0, 100))
        axis.set_yticks(range(len(sets)), [found.source for found in sets])
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside right upper")
    save(figure, path)
