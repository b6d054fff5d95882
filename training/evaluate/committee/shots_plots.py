"""The `shots` section and the reliability of confidences as pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from training.evaluate.committee.reliability import BINS, Curve, ReliabilityReport
from training.evaluate.committee.shots import ALONE
from training.evaluate.committee.shots_report import BEST_FIXED, HINDSIGHT, MeanScore, ShotsReport
from training.evaluate.committee.shots_tables import words
from training.evaluate.suites.zoo_plots import BLUE, GREEN, GREY, ORANGE, PINK, pareto, save

BLACK, SKY, RED = "#000000", "#56B4E9", "#D55E00"
CURVES = {
    BEST_FIXED: ("o", GREY, "--"),
    "mean": ("D", GREEN, "--"),
    "best_by_labels": ("o", BLACK, "-"),
    "stacking": ("v", PINK, "-"),
    "ladder": ("s", ORANGE, "-"),
    "nlc": ("^", BLUE, "-"),
    "tip:best_by_labels": ("P", SKY, ":"),
    "tip:nlc": ("P", SKY, "-"),
    "gauss:best_by_labels": ("X", RED, ":"),
    "gauss:nlc": ("X", RED, "-"),
}
WEIGHED = ("ladder", "nlc", "gauss:nlc")


def plot_frontier(report: ShotsReport, path: Path) -> None:
    """PNG at `path`: mean accuracy against GFLOPs per picture, without labels and at the most shots."""
    from matplotlib.figure import Figure

    counts = [0, *report.shots[-1:]]
    figure = Figure(figsize=(6.2 * len(counts), 5), layout="constrained")
    axes = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axis, shots in zip(axes, counts, strict=True):
        row = report.mean(shots)
        if row is None:
            continue
        skipped = {BEST_FIXED, HINDSIGHT, "oracle"}
        shown = {name: score for name, score in row.methods.items() if name not in skipped}
        places = [(score.gflops, 100 * score.accuracy.value) for score in shown.values()]
        axis.plot(*zip(*pareto(places), strict=True), color=GREY, linewidth=1, zorder=0)
        for name, score in shown.items():
            color, marker = _look(name)
            axis.errorbar(
                [score.gflops], [100 * score.accuracy.value], yerr=_reach(score), fmt=marker, color=color, markersize=5
            )
        _name_the_best(axis, shown)
        _plain_decades(axis)
        axis.set(xlabel="GFLOPs per picture (log scale)", title=_title(shots, len(row.tasks)))
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("top-1 accuracy, mean over tasks (%)")
    for label, name in (("one backbone", ALONE), ("Tip-Adapters", "tip:"), ("Gaussian adapters", "gauss:")):
        color, marker = _look(name)
        axes[-1].plot([], [], marker, color=color, label=label)
    axes[-1].plot([], [], _look("nlc")[1], color=_look("nlc")[0], label="zoo's own logits")
    figure.legend(*axes[-1].get_legend_handles_labels(), fontsize=8, loc="outside right upper")
    save(figure, path)


def _plain_decades(axis: Any) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _look(name: str) -> tuple[str, str]:
    for prefix, look in {"tip:": (SKY, "P"), "gauss:": (RED, "X"), ALONE: (BLUE, "o")}.items():
        if name.startswith(prefix):
            return look
    return (ORANGE, "s")


def _reach(score: MeanScore) -> list[list[float]]:
    reach = 100 * (score.accuracy.high - score.accuracy.value)
    return [[reach], [reach]]


def _name_the_best(axis: Any, shown: dict[str, MeanScore]) -> None:
    """The best of all, and the best single backbone: other names would lie on top of each other."""
    single = [name for name in shown if name.startswith(ALONE)]
    for name in {max(group, key=lambda each: shown[each].accuracy.value) for group in (single, list(shown)) if group}:
        score = shown[name]
        text = words(name).replace("`", "")
        axis.annotate(
            text,
            (score.gflops, 100 * score.accuracy.value),
            textcoords="offset points",
            xytext=(-6, 8),
            ha="right",
            fontsize=8,
        )


def _title(shots: int, tasks: int) -> str:
    labels = "no labels" if not shots else f"up to {shots} labelled pictures per class"
    return f"{labels}, {tasks} tasks"


def plot_curves(report: ShotsReport, path: Path) -> None:
    """PNG at `path`: each method less the best fixed backbone by number of shots; nothing without any."""
    from matplotlib.figure import Figure

    if not report.shots:
        return
    figure = Figure(figsize=(9, 5), layout="constrained")
    axis = figure.add_subplot()
    rows = [row for row in (report.mean(shots) for shots in report.shots) if row is not None]
    for name, (marker, color, line) in CURVES.items():
        found = [(row.shots, row.methods[name].over_fixed) for row in rows if name in row.methods]
        axis.errorbar(
            [shots for shots, _ in found],
            [100 * each.value for _, each in found],
            yerr=[100 * (each.high - each.value) for _, each in found],
            marker=marker,
            color=color,
            linestyle=line,
            linewidth=1.3,
            markersize=5,
            capsize=2,
            label=words(name),
        )
    axis.set_xscale("log", base=2)
    axis.set_xticks(
        [row.shots for row in rows], [f"{row.shots}\n({len(row.tasks)} tasks)" for row in rows], minor=False
    )
    axis.set(
        xlabel="labelled pictures per class",
        ylabel="points over the best fixed backbone",
        title="What labels are worth, with 95% intervals",
    )
    axis.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside right upper")
    save(figure, path)


def plot_weights(report: ShotsReport, path: Path) -> None:
    """PNG at `path`: by task, each backbone's mean share of the weights at the most shots; nothing without any."""
    from matplotlib.figure import Figure

    shots = report.shots[-1] if report.shots else 0
    tasks = [task for task in report.tasks if shots in task.learnt]
    if not tasks:
        return
    figure = Figure(figsize=(2.5 + 2.6 * len(WEIGHED), 1.6 + 0.28 * len(tasks)), layout="constrained")
    axes = figure.subplots(1, len(WEIGHED), sharey=True, squeeze=False)[0]
    even = 1 / len(report.backbones)
    for axis, method in zip(axes, WEIGHED, strict=True):
        shares = [task.learnt[shots].methods[method].shares for task in tasks]
        # Where the ladder stayed at the probability mean everybody counts the same.
        shown = np.array([[(each or {}).get(name, even) for name in report.backbones] for each in shares])
        image = axis.imshow(100 * shown, cmap="cividis", vmin=0, vmax=100, aspect="auto")
        for row, column in np.ndindex(shown.shape):
            color = "black" if shown[row, column] > 0.5 else "white"
            text = f"{100 * shown[row, column]:.0f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
        axis.set_xticks(range(len(report.backbones)), list(report.backbones), rotation=35, ha="right", fontsize=8)
        axis.set_title(words(method), fontsize=9)
    axes[0].set_yticks(range(len(tasks)), [task.source for task in tasks], fontsize=8)
    figure.colorbar(image, ax=list(axes), label="share of the weights (%)")
    figure.suptitle(f"Whom the controllers turn to, up to {shots} labelled pictures per class", fontsize=10)
    save(figure, path)


def plot_reliability(report: ReliabilityReport, path: Path) -> None:
    """PNG at `path`: confidence against accuracy for every backbone and their mean, before and after temperatures."""
    from matplotlib.figure import Figure

    columns = min(3, len(report.speakers))
    lines = -(-len(report.speakers) // columns)
    figure = Figure(figsize=(0.6 + 3 * columns, 0.8 + 2.9 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axis, each in zip(axes.flat, report.speakers, strict=False):
        axis.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle=":")
        for label, found, color, marker in (
            ("before", each.before, ORANGE, "s"),
            ("after", each.after, BLUE, "o"),
        ):
            _curve(axis, found, f"{label}: {100 * found.error:.1f}", color, marker)
        axis.set_title(each.speaker, fontsize=10)
        axis.legend(fontsize=8, loc="upper left", title="calibration error", title_fontsize=8)
        axis.grid(alpha=0.25)
    for axis in list(axes.flat)[len(report.speakers) :]:
        axis.set_visible(False)
    figure.supxlabel("confidence (%)", fontsize=10)
    figure.supylabel("right (%)", fontsize=10)
    figure.suptitle(f"Reliability before and after temperatures, {report.tasks} tasks without labels", fontsize=10)
    save(figure, path)


def _curve(axis: Any, found: Curve, label: str, color: str, marker: str) -> None:
    """Points of bins that hold anything, larger where they hold more."""
    kept = [place for place in range(BINS) if found.weight[place] > 0]
    places = [100 * found.confidence[place] for place in kept], [100 * found.accuracy[place] for place in kept]
    sizes = [8 + 160 * found.weight[place] for place in kept]
    axis.plot(*places, color=color, linewidth=1)
    axis.scatter(*places, s=sizes, color=color, marker=marker, alpha=0.7, label=label)
