"""The record of a fit's loss by its terms: one CSV row per step, and a plot of it."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from training.curve import smooth

TERM_NAMES = ("clip", "classes", "depth", "normals")
WINDOW = 100


def start_terms(path: Path, *, before_step: int) -> None:
    """Write the header and keep the rows before `before_step`, as `training.curve.start_curve` does."""
    lines = path.read_text("utf-8").splitlines()[1:] if path.exists() and before_step > 0 else []
    # A killed run may leave half a line, with a number that was cut off; such a line is always of a later step.
    kept = [line for line in lines if line.count(",") == len(TERM_NAMES) and int(line.split(",")[0]) < before_step]
    path.write_text("\n".join([",".join(("step", *TERM_NAMES)), *kept]) + "\n", encoding="utf-8")


def format_terms(step: int, terms: Mapping[str, float]) -> str:
    """One line of the record, unweighted; empty for a term that is switched off or had nothing to learn from."""
    values = (f"{terms[name]:.9g}" if name in terms else "" for name in TERM_NAMES)
    return ",".join((str(step), *values)) + "\n"


def read_terms(path: Path) -> dict[str, list[tuple[int, float]]]:
    """The steps and values of every term that a record holds any of."""
    found: dict[str, list[tuple[int, float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name in TERM_NAMES:
                if row[name]:
                    found.setdefault(name, []).append((int(row["step"]), float(row[name])))
    return found


def plot_terms(csv_path: Path, png_path: Path, title: str) -> None:
    """Every term (smoothed) against the step, in a panel of its own: they have no scale in common."""
    # Imported here: matplotlib takes a second that only the end of a run needs.
    from matplotlib.figure import Figure

    terms = read_terms(csv_path)
    rows = math.ceil(len(terms) / 2)
    figure = Figure(figsize=(9, 1 + 2.5 * rows), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(rows, 2, squeeze=False).flatten()
    for axis in axes[len(terms) :]:
        axis.set_visible(False)
    for axis, (name, points) in zip(axes, terms.items(), strict=False):
        steps, values = zip(*points, strict=True)
        axis.plot(steps, smooth(values, WINDOW), color="tab:blue")
        axis.set(title=name, xlabel="step", ylabel=f"loss (mean of {WINDOW} steps)")
    figure.savefig(png_path, dpi=120)
