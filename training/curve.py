"""The record of a run: one CSV row per step, and a plot of it."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

COLUMNS = ("step", "loss", "lr", "logit_scale", "seconds")


def read_curve(path: Path) -> list[dict[str, float]]:
    """Rows of a curve, numbers as floats; empty when there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def start_curve(path: Path, *, before_step: int) -> None:
    """Write the header and keep the rows before `before_step`: what a killed run wrote after its last checkpoint is
    trained, and recorded, again."""
    kept: list[str] = []
    if path.exists() and before_step > 0:
        lines = path.read_text("utf-8").splitlines()[1:]
        kept = [line for line in lines if line.count(",") == len(COLUMNS) - 1 and int(line.split(",")[0]) < before_step]
    path.write_text("\n".join([",".join(COLUMNS), *kept]) + "\n", encoding="utf-8")


def format_row(step: int, loss: float, lr: float, logit_scale: float, seconds: float) -> str:
    """One line of the curve; enough digits to compare two runs exactly in float32."""
    return f"{step},{loss:.9g},{lr:.9g},{logit_scale:.9g},{seconds:.1f}\n"


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Running mean over `window` values (shorter at the start): float64[n]."""
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(values, dtype=np.float64)]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)  # type: ignore[no-any-return]  # numpy's division is untyped


def plot_curve(csv_path: Path, png_path: Path, title: str) -> None:
    """Loss (smoothed) and logit scale against the step."""
    # Imported here: matplotlib takes a second that only the end of a run needs.
    from matplotlib.figure import Figure

    rows = read_curve(csv_path)
    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.add_subplot()
    axis.plot(steps, smooth([row["loss"] for row in rows], 100), color="tab:blue")
    axis.set(title=title, xlabel="step", ylabel="contrastive loss (mean of 100 steps)")
    right = axis.twinx()
    right.plot(steps, [row["logit_scale"] for row in rows], color="tab:orange")
    right.set_ylabel("logit scale")
    figure.savefig(png_path, dpi=120)
