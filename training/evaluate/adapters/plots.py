"""The adapters report as pictures. Colours are Okabe and Ito's, made for the colour-blind; shapes differ besides."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from training.adapters.settings import Setting
from training.evaluate.adapters.branches import Branches
from training.evaluate.adapters.findings import SETTINGS, SIZES, Findings, Spread
from training.evaluate.adapters.grid import HEADLINE
from training.evaluate.adapters.report import AdaptersReport, Features
from training.evaluate.suites.zoo_plots import BLUE, GREEN, GREY, ORANGE, PINK, save

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, SKY, RED = "#000000", "#56B4E9", "#D55E00"
FAMILIES: Final = (
    ("without-msa", "w/o MSA", PINK, "v"),
    ("msa-lo", "MSA-Lo", RED, "*"),
    ("msa", "MSA", ORANGE, "P"),
    ("clip-adapter", "CLIP-Adapter", BLACK, "X"),
    ("bottleneck-ensemble", "bottleneck ensemble", SKY, "s"),
    ("bottleneck", "single bottleneck", BLUE, "o"),
    ("pyramid", "pyramid", GREEN, "^"),
)
"""By what is in a label, the first that is."""
STYLES: Final = tuple(zip((GREEN, BLUE, ORANGE, SKY, PINK, RED, BLACK), "^os<vPX", strict=True))
"""Of figure 1, one for each of its designs."""
OTHER: Final = ("other", GREY, "d")


def write_plots(report: AdaptersReport, out: Path) -> tuple[str, ...]:
    """`shares.png`, `units.png`, `features.png` and `scales.png` in `out`, those for which there is anything to show;
    their names."""
    findings, drawn = Findings(report), []
    if any(findings.labels(setting) for setting in Setting):
        plot_shares(findings, out / "shares.png")
        drawn.append("shares")
    if findings.sizes():
        plot_sizes(findings, out / "units.png")
        drawn.append("units")
    if report.features is not None:
        plot_features(report.features, report, out / "features.png")
        drawn.append("features")
    if report.features is not None and report.features.branches is not None:
        plot_branches(report.features.branches, report, out / "scales.png")
        drawn.append("scales")
    return tuple(drawn)


def _family(label: str) -> tuple[str, str, str]:
    return next((each[1:] for each in FAMILIES if each[0] in label), OTHER)


def _compared(label: str) -> bool:
    """Whether a design is one of those that every setting compares."""
    return label in ("zero-shot", *HEADLINE) or label.startswith("both-bottleneck-w")


def plot_shares(findings: Findings, path: Path) -> None:
    """PNG at `path`: figures 4 and 5, a panel for every setting with figures. Ablations have tables of their own."""
    from matplotlib.figure import Figure

    drawn = {setting: [label for label in findings.labels(setting) if _compared(label)] for setting in Setting}
    settings = [setting for setting, labels in drawn.items() if labels]
    figure = Figure(figsize=(11, 1 + 4 * ((len(settings) + 1) // 2)), layout="constrained")
    axes = figure.subplots(max(1, (len(settings) + 1) // 2), 2, squeeze=False).flatten()
    handles: dict[str, Artist] = {}
    for axis, setting in zip(axes, settings, strict=False):
        for label in drawn[setting]:
            found, group = findings.mean(label, setting), findings.group(label, SETTINGS[setting][0])
            if found is None or group is None:
                continue
            if label == "zero-shot":
                axis.axhline(100 * found.mean, color=GREY, linestyle=":", linewidth=1)
                continue
            name, color, marker = _family(label)
            handles.setdefault(name, _point(axis, 100 * group.share, found, color, marker))
            axis.annotate(label, (100 * group.share, 100 * found.mean), fontsize=5, xytext=(4, 3), textcoords=_OFFSET)
        axis.set_title(f"{setting} ({_seeds(findings, setting, drawn[setting])})", fontsize=10)
        axis.set_xlabel("added parameters, % of the backbone's")
        axis.set_ylabel("mean over sources (%)")
        axis.grid(alpha=0.25)
    for axis in axes[len(settings) :]:
        axis.axis("off")
    figure.legend(list(handles.values()), list(handles), fontsize=8, loc="outside right upper")
    _say_where(figure, findings.report, "95% t intervals; ")
    save(figure, path)


_OFFSET: Final = "offset points"


def _seeds(findings: Findings, setting: Setting, labels: Sequence[str]) -> str:
    counts = {len(findings.values(label, setting)) for label in labels if label != "zero-shot"}
    return f"{min(counts)} to {max(counts)} seeds" if len(counts) > 1 else f"{max(counts, default=0)} seeds"


def _point(axis: "Axes", x: float, found: Spread, color: str, marker: str) -> "Artist":
    reach = 0.0 if found.high is None else 100 * (found.high - found.mean)
    drawn = axis.errorbar([x], [100 * found.mean], yerr=[reach], fmt=marker, color=color, markersize=7, capsize=3)
    line: Artist = drawn[0]
    return line


def plot_sizes(findings: Findings, path: Path) -> None:
    """PNG at `path`: figure 1, accuracy by number of units."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    for (base, found), (color, marker) in zip(findings.sizes().items(), STYLES, strict=False):
        for n, each in found.items():
            _point(axis, n, each, color, marker)
        axis.plot(list(found), [100 * each.mean for each in found.values()], color=color, marker=marker, label=base)
    axis.set_xticks(SIZES)
    axis.set_xlabel("N, units of d x d in every block")
    axis.set_ylabel("adaptation, mean over sources (%)")
    counts = {len(findings.values(label, Setting.ADAPTATION)) for label in findings.labels(Setting.ADAPTATION)}
    _say_where(figure, findings.report, f"up to {max(counts)} seeds, 95% t intervals; ")
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8)
    save(figure, path)


def plot_features(features: Features, report: AdaptersReport, path: Path) -> None:
    """PNG at `path`: figure 6, a panel for each design."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(features.clouds), 3.6), layout="constrained")
    axes = figure.subplots(1, len(features.clouds), squeeze=False, sharex=True, sharey=True)[0]
    for axis, each in zip(axes, features.clouds, strict=True):
        axis.scatter(*zip(*each.pictures, strict=True), s=9, color=BLUE, marker="o", label="pictures")
        axis.scatter(*zip(*each.captions, strict=True), s=9, color=ORANGE, marker="^", label="captions")
        axis.set_title(f"{each.label}, {features.source} (n = 1)", fontsize=9)
    axes[0].legend(fontsize=8)
    _say_where(figure, report)
    save(figure, path)


def plot_branches(found: Branches, report: AdaptersReport, path: Path) -> None:
    """PNG at `path`: figure 6b, the same pictures as three scales see them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    for (name, points), (color, marker) in zip(found.points.items(), STYLES, strict=False):
        across, up = zip(*points, strict=True)
        axis.scatter(across, up, s=9, color=color, marker=marker, label=name)
    axis.set_title(f"msa, last block of the image tower ({100 * found.explained:.0f} % of the variance)", fontsize=9)
    axis.legend(fontsize=8)
    _say_where(figure, report)
    save(figure, path)


def _say_where(figure: "Figure", report: AdaptersReport, before: str = "") -> None:
    figure.suptitle(f"{before}fits on {'; '.join(report.machines)}", fontsize=7, color=GREY)
