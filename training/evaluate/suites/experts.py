"""CLIPTeX: fine-tunings with and without experts' labels, probed, and what they say about the paper's claims."""

from collections import Counter
from pathlib import Path

from training.data.rows import DataError
from training.evaluate.card import bring_up_to_date, check
from training.evaluate.experts.grid import PARTS
from training.evaluate.experts.plots import write_features, write_plots
from training.evaluate.experts.report import (
    TAUGHT,
    ExpertsReport,
    dump_report,
    frequencies,
    grouped,
    load_report,
    set_facts,
)
from training.evaluate.experts.runner import RunOptions, grid_of, run_study
from training.evaluate.experts.tables import REPORT, headline, tables
from training.evaluate.experts.trivial import scores_by_place
from training.evaluate.experts.units import Record
from training.evaluate.suites import SuiteOptions
from training.experts.packs.pack import ExpertPack, digest_of, load_expert_pack

TABLES = "README.md"
HEADLINE = "experts"
"""The section of a card."""

PACK = "pack.safetensors"
"""Beside the folder of units: what they are computed from."""
PLACES = ("scenes", "composites")


def run(options: SuiteOptions) -> str:
    """Compute the units that are missing, if `options.fit`; write `experts.json`, the tables (`README.md`) and the
    plots, and the headline into the card, if one is given. Returns the tables.

    Raises `DataError`, `CheckpointError` and `CardError`.
    """
    if options.card is not None:  # before hours of work, not after them
        check(options.card, [HEADLINE])
    path = options.units.parent / PACK
    pack = load_expert_pack(path)
    if options.fit:
        run_study(grid_of(pack), PARTS, RunOptions(path, options.units, "auto", 0, 0, options.progress))
    report = evaluate(pack, path, options.units)
    options.out.mkdir(parents=True, exist_ok=True)
    written = options.out / REPORT
    written.write_text(dump_report(report), encoding="utf-8")
    # Everything below shows what was written, to the digit, so that it can be made again from the file.
    report = load_report(written)
    drawn = write_plots(report, options.out) + write_features(pack, Record.open(options.units).states, options.out)
    text = tables(report, drawn)
    (options.out / TABLES).write_text(text, encoding="utf-8")
    if options.card is not None and bring_up_to_date(options.card, {HEADLINE: headline(report)}):
        options.progress(f"{options.card} was brought up to date")
    return text


def evaluate(pack: ExpertPack, path: Path, units: Path) -> ExpertsReport:
    """What the folder `units` holds of `pack`, the file at `path`; units of another pack, or of earlier code, are left
    out. Raises `DataError`."""
    if not units.is_dir():
        raise DataError(f"{units}: no such folder; `python -m training.experts units` fills one")
    digest, grid = digest_of(path), grid_of(pack)
    wanted = {unit.key(digest) for part in PARTS for unit in grid.units(part)}
    results = [result for key, result in Record.open(units).results.items() if key in wanted]
    classes = {place: pack.chosen(f"{place}_probe").maps["exact-classes"].classes for place in PLACES}
    return ExpertsReport(
        suite="experts",
        pack=digest,
        machines=dict(Counter(result.machine for result in results)),
        towers=tuple(pack.towers),
        sets=set_facts(pack),
        classes=classes,
        taught=pack.chosen(TAUGHT[0]).maps["pseudo-classes"].classes,
        frequency={name: frequencies(pack.chosen(name)) for name in TAUGHT},
        groups=grouped(results),
        blind=scores_by_place(pack),
    )
