"""The committee: what controllers, adapters and cascades make of the zoo, task by task and shot by shot."""

import os
import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import onnxruntime as ort

from service.repository import Zoo, load_zoo
from training.data.rows import DataError
from training.data.sources import DataDirs
from training.evaluate.card import bring_up_to_date, check
from training.evaluate.committee.ablations import ablations_table, measure_ablations
from training.evaluate.committee.ablations_plots import plot_ablations
from training.evaluate.committee.cascade import cascade_table, measure_cascade, promises
from training.evaluate.committee.cascade_plots import plot_cascade
from training.evaluate.committee.draws import SHOTS
from training.evaluate.committee.pools import open_pools
from training.evaluate.committee.probes import measure_probes, probes_table
from training.evaluate.committee.probes_plots import plot_probes
from training.evaluate.committee.reliability import measure_reliability
from training.evaluate.committee.report import BackboneFacts, CommitteeReport, dump_report, load_report
from training.evaluate.committee.robustness import measure_robustness, robustness_table
from training.evaluate.committee.robustness_plots import plot_robustness
from training.evaluate.committee.sections import Run
from training.evaluate.committee.shots import SEEDS, measure_outcomes
from training.evaluate.committee.shots_plots import plot_curves, plot_frontier, plot_reliability, plot_weights
from training.evaluate.committee.shots_report import shots_report
from training.evaluate.committee.shots_tables import headline_table, reliability_table, shots_table
from training.evaluate.committee.subsets import measure_subsets, subsets_table
from training.evaluate.committee.subsets_plots import plot_subsets
from training.evaluate.committee.units import Unit, run_units
from training.evaluate.members import Member, open_members
from training.evaluate.suites import SuiteOptions

REPORT = "committee.json"
TABLES = "README.md"
HEADLINE = "committee"
"""The section of a card."""
UNITS = "committee"
"""Beside the folder of embeddings: results of units of work."""

TITLES = {
    "shots": "What labels are worth",
    "frontier": "Accuracy against cost",
    "weights": "Whom the controllers turn to",
    "reliability": "Reliability before and after temperatures",
    "cascade": "The cascade and its promise",
    "subsets": "Committees of every size",
    "ablations": "What the paper leaves open",
    "probes": "Over linear probes",
    "robustness": "Corrupted pictures",
}

MOST_WORKERS = 2
"""Each holds the largest task's pools and torch's libraries: half a GB."""


def run(options: SuiteOptions) -> str:
    """Measure everything; write `committee.json`, the tables (`README.md`) and the plots, and the headline into the
    card, if one is given. Returns the tables.

    What was measured before is found again, so a run that was killed goes on where it was. Raises `DataError`,
    `RepositoryError` and `CardError`.
    """
    if options.card is not None:  # before minutes of work, not after them
        check(options.card, [HEADLINE])
    zoo = load_zoo(options.repository).committee
    units = options.cache.parent / UNITS
    members = open_members(zoo, options.cache)
    report = evaluate(options.data, zoo, members, units, options.progress, workers=workers(), shots=SHOTS, seeds=SEEDS)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / REPORT
    path.write_text(dump_report(report), encoding="utf-8")
    # Everything below shows what was written, to the digit, so that it can be made again from the file.
    report = load_report(path)
    text = tables(report)
    (options.out / TABLES).write_text(text, encoding="utf-8")
    write_plots(report, options.out)
    if options.card is not None and bring_up_to_date(options.card, {HEADLINE: headline(report)}):
        options.progress(f"{options.card} was brought up to date")
    return text


def evaluate(
    data: DataDirs,
    zoo: Zoo,
    members: Sequence[Member],
    folder: Path,
    progress: Callable[[str], None],
    *,
    workers: int,
    shots: Sequence[int],
    seeds: int,
) -> CommitteeReport:
    """Every section on every labelled task in `data`; units of work are kept in `folder`. Raises `DataError`."""
    pools = open_pools(data, zoo, members, progress)
    if not pools:
        raise DataError("there is no labelled task to measure a committee on")
    run_all: Run = partial(_run, folder, workers, progress)
    return CommitteeReport(
        suite="committee",
        machine=f"{platform.machine()}, {platform.system()}, onnxruntime {ort.__version__}, CPU",
        backbones={
            backbone.name: BackboneFacts(
                backbone.family,
                backbone.gflops,
                backbone.temperature,
                backbone.image.config.sha256,
                backbone.text.config.sha256,
            )
            for backbone in zoo.backbones
        },
        shots=shots_report(measure_outcomes(pools, run_all, shots=shots, seeds=seeds), seeds),
        reliability=measure_reliability(pools),
        cascade=measure_cascade(pools, run_all),
        subsets=measure_subsets(pools, run_all),
        ablations=measure_ablations(pools, members, run_all),
        probes=measure_probes(pools, run_all),
        robustness=measure_robustness(pools, members, run_all),
    )


def workers() -> int:
    """Processes that compute units."""
    return min(MOST_WORKERS, os.cpu_count() or 1)


def _run(folder: Path, workers: int, progress: Callable[[str], None], units: Sequence[Unit]) -> list[object]:
    return run_units(units, folder, workers=workers, progress=progress)


def tables(report: CommitteeReport) -> str:
    """Everything, as one document."""
    there = pictures(report)
    shown = {name: f"![{title}]({name}.png)" for name, title in TITLES.items() if name in there}
    parts = [
        "# What the committee makes of the zoo",
        f"Written by `python -m training evaluate --suite committee` ({report.machine}) from "
        f"[{REPORT}]({REPORT}): {len(report.shots.tasks)} labelled tasks, {len(report.backbones)} backbones "
        f"({', '.join(f'`{name}`' for name in report.backbones)}).",
        "## Labels",
        shots_table(report.shots),
        *(shown[name] for name in ("shots", "frontier", "weights") if name in shown),
        f"## {TITLES['reliability']}",
        reliability_table(report.reliability),
        shown["reliability"],
    ]
    sections = {
        "cascade": cascade_table(report.cascade),
        "subsets": subsets_table(report.subsets),
        "ablations": ablations_table(report.ablations),
        "probes": probes_table(report.probes),
        "robustness": robustness_table(report.robustness),
    }
    for name, table in sections.items():
        parts += [f"## {TITLES[name]}", table, *([shown[name]] if name in shown else [])]
    return "\n\n".join(parts) + "\n"


def headline(report: CommitteeReport) -> str:
    """What the first page says: labels and what they are worth, and the cascade in a sentence per epsilon."""
    cascade = [
        "The cascade (calibrations on images drawn anew, realised disagreement on all of them):",
        "",
        *promises(report.cascade),
    ]
    return "\n\n".join([headline_table(report.shots), "\n".join(cascade)])


def pictures(report: CommitteeReport) -> tuple[str, ...]:
    """Names of the plots for which there is anything to show."""
    shown = {
        "shots": report.shots.shots,
        "frontier": True,
        "weights": report.shots.shots,
        "reliability": True,
        "cascade": report.cascade.trials,
        "subsets": report.subsets.tasks,
        "ablations": report.ablations.forms,
        "probes": report.probes.tasks,
        "robustness": report.robustness.tasks,
    }
    return tuple(name for name, anything in shown.items() if anything)


def write_plots(report: CommitteeReport, out: Path) -> None:
    """A PNG for every one of `pictures`."""
    plot_curves(report.shots, out / "shots.png")
    plot_frontier(report.shots, out / "frontier.png")
    plot_weights(report.shots, out / "weights.png")
    plot_reliability(report.reliability, out / "reliability.png")
    plot_cascade(report.cascade, out / "cascade.png")
    plot_subsets(report.subsets, out / "subsets.png")
    plot_ablations(report.ablations, out / "ablations.png")
    plot_probes(report.probes, out / "probes.png")
    plot_robustness(report.robustness, out / "robustness.png")
