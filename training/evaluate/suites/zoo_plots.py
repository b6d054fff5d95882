"""The zoo's report as pictures. Colours are Okabe and Ito's, made for the colour-blind; shapes differ besides."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from training.evaluate.statistics import Score
from training.evaluate.suites.zoo_aggregate import ALL_LABELLED
from training.evaluate.suites.zoo_report import TaskReport, ZooReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI, COLOURS = 110, 96
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#777777"
# Marker, colour, and a factor on the cost: committees of all cost the same, side by side their intervals can be read.
FULL_MARKERS = {"mean": ("D", GREEN, 0.97), "mean_logit": ("s", ORANGE, 1.0), "vote": ("^", PINK, 1.03)}

Point = tuple[float, float]


def write_plots(report: ZooReport, out: Path) -> None:
    """`accuracy.png`, `alone.png` and `pairs.png` in `out`; none without a labelled task, no pairs of one backbone."""
    if not report.labelled:
        return
    save(accuracy_figure(report), out / "accuracy.png")
    save(alone_figure(report), out / "alone.png")
    if len(report.backbones) > 1:
        save(pairs_figure(report), out / "pairs.png")


def save(figure: "Figure", path: Path) -> None:
    """A PNG of few colours: a third of the size, and nothing in it but the picture, so equal plots are equal files."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    with Image.open(buffer) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def _figure(width: float, height: float) -> "Figure":
    # Imported here: matplotlib takes a second that only the end of an evaluation needs.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points (cost, score) that no cheaper or equally cheap point reaches, by cost."""
    front: list[Point] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def accuracy_figure(report: ZooReport) -> "Figure":
    """Mean accuracy over the labelled tasks against GFLOPs per image."""
    means = next(found for found in report.aggregates if found.group == ALL_LABELLED)
    singles = [(name, report.backbones[name].gflops, score) for name, score in means.backbones.items()]
    figure = _figure(9, 5)
    axis = figure.add_subplot()
    _committees(axis, report)
    # Names beside points run into each other; a number in the point and its name in the legend do not.
    for number, (name, gflops, score) in enumerate(singles, start=1):
        _dot(axis, gflops, score, marker="o", color=BLUE, markersize=12, label=f"{number}: {name}")
        style: dict[str, Any] = {
            "ha": "center",
            "va": "center_baseline",
            "color": "white",
            "fontsize": 8,
            "fontweight": "bold",
        }
        axis.text(gflops, 100 * score.value, str(number), zorder=5, **style)
    every = [(gflops, 100 * score.value) for _, gflops, score in singles]
    every += [(found.gflops, 100 * found.score.value) for found in report.committees]
    axis.plot(*zip(*pareto(every), strict=True), color=BLUE, linewidth=1, label="best for its cost", zorder=0)
    axis.axhline(100 * means.oracle.value, color="black", linestyle="--", linewidth=1, label="oracle: any is right")
    shuffled = 100 * means.oracle_shuffled
    axis.axhline(shuffled, color="black", linestyle=":", linewidth=1, label="oracle, all but the best\nshuffled")
    _decades(axis, [gflops for gflops, _ in every])
    axis.set(
        xlabel="GFLOPs per image (log scale)",
        ylabel=f"zero-shot top-1, mean over {len(means.tasks)} tasks (%)",
        title="Accuracy against cost, with 95% intervals",
    )
    axis.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside right upper", markerscale=0.7)
    return figure


def _committees(axis: "Axes", report: ZooReport) -> None:
    pairs = [found for found in report.committees if len(found.members) < len(report.backbones)]
    places = [found.gflops for found in pairs], [100 * found.score.value for found in pairs]
    if pairs:
        axis.plot(*places, "x", color=GREY, label="two backbones, mean", zorder=1)
    for found in report.committees:
        if len(found.members) == len(report.backbones):
            marker, color, shift = FULL_MARKERS[found.policy]
            _dot(axis, found.gflops * shift, found.score, marker=marker, color=color, label=f"all, {found.policy}")


def _dot(axis: "Axes", gflops: float, score: Score, **style: Any) -> None:
    value = 100 * score.value
    error = [[value - 100 * score.low], [100 * score.high - value]]
    axis.errorbar([gflops], [value], yerr=error, linestyle="none", elinewidth=1, capsize=3, **style)


def _decades(axis: "Axes", gflops: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.set_xlim(min(gflops) / 1.6, max(gflops) * 1.3)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def alone_figure(report: ZooReport) -> "Figure":
    """Per backbone and task, the share of pictures that it alone gets right, beside the shuffled control."""
    tasks, names = _by_novelty(report.labelled), list(report.backbones)
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = _figure(1.8 + 2.8 * columns, 1.0 + lines * (0.6 + 0.19 * len(tasks)))
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    places = np.arange(len(tasks))
    for axis, name in zip(axes.flat, names, strict=False):
        found = [task.measures[0].alone[name] for task in tasks]
        saw = [task.trained_on[name] is not False for task in tasks]
        bars = axis.barh(places, [100 * each.share.value for each in found], color=BLUE, height=0.65)
        for bar, trained in zip(bars, saw, strict=True):
            bar.set_alpha(1.0 if trained else 0.45)
        axis.plot([100 * each.shuffled for each in found], places, "D", color=ORANGE, markersize=5, markeredgecolor="k")
        axis.set_title(name, fontsize=10)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", alpha=0.25)
    for axis in list(axes.flat)[len(names) :]:
        axis.set_visible(False)
    first = axes[0, 0]
    first.set_yticks(places, [task.task for task in tasks])
    first.set_ylim(len(tasks) - 0.4, -0.6)
    figure.supxlabel("pictures that this backbone alone gets right (%)", fontsize=10)
    figure.suptitle(
        "Right alone (bars; pale: source not in its training) and the same with its answers shuffled (diamonds)",
        fontsize=10,
    )
    return figure


def _by_novelty(tasks: Sequence[TaskReport]) -> list[TaskReport]:
    order = ("seen classes", "unseen concepts", "unseen classes", "unseen source")
    return sorted(tasks, key=lambda task: (order.index(task.novelty), task.task))


def pairs_figure(report: ZooReport) -> "Figure":
    """For every two backbones, means over the labelled tasks: exactly one is right; their answers differ."""
    names = list(report.backbones)
    one_right = np.mean([task.measures[0].one_right for task in report.labelled], axis=0)
    differ = np.mean([task.answers_differ for task in report.labelled if task.answers_differ is not None], axis=0)
    side = 1.5 + 0.6 * len(names)
    figure = _figure(2 * side, side)
    left, right = figure.subplots(1, 2)
    _heat(left, 100 * one_right, names, "exactly one of the two is right")
    _heat(right, 100 * differ, names, "their top labels differ")
    figure.suptitle(f"Pairs of backbones, % of pictures (mean over {len(report.labelled)} tasks)", fontsize=11)
    return figure


def _heat(axis: "Axes", matrix: "np.ndarray[Any, Any]", names: Sequence[str], title: str) -> None:
    """Numbers on colours that run from the least to the most; the diagonal is left blank."""
    shown = np.where(np.eye(len(names), dtype=bool), np.nan, matrix)
    axis.imshow(shown, cmap="cividis")
    middle = (np.nanmin(shown) + np.nanmax(shown)) / 2
    for row, column in np.argwhere(~np.isnan(shown)):
        value = shown[row, column]
        color = "black" if value > middle else "white"
        axis.text(column, row, f"{value:.1f}", ha="center", va="center", color=color, fontsize=9)
    axis.set_xticks(range(len(names)), list(names), rotation=35, ha="right", fontsize=9)
    axis.set_yticks(range(len(names)), list(names), fontsize=9)
    axis.set_title(title, fontsize=10)
