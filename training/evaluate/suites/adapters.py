"""Adapter ensembles: fits of every design, and what they say about the paper's claims."""

from collections import Counter
from pathlib import Path

from training.adapters.adapt import choose_device
from training.adapters.counting import backbone_shape, share_of
from training.adapters.design import design
from training.adapters.pack import Pack, load_pack, save_pack
from training.adapters.packing import make_pack
from training.cli_options import Plan
from training.data.rows import DataError
from training.evaluate.adapters.bench import pack_digest
from training.evaluate.adapters.features import measure_features
from training.evaluate.adapters.grouping import grouped, rates_tried, source_facts
from training.evaluate.adapters.plans import make_grid
from training.evaluate.adapters.plots import write_plots
from training.evaluate.adapters.report import AdaptersReport, dump_report, load_report
from training.evaluate.adapters.runner import Record, RunOptions, run_grid
from training.evaluate.adapters.tables import REPORT, headline, tables
from training.evaluate.adapters.timed import keep_timing, measure_timing, read_timing
from training.evaluate.card import bring_up_to_date, check
from training.evaluate.suites import SuiteOptions

TABLES = "README.md"
HEADLINE = "adapters"
"""The section of a card."""

PACK = "pack.safetensors"
"""Beside the folder of units: what they are computed from."""
RUN = Path("runs/vit-s")


def run(options: SuiteOptions) -> str:
    """Compute the units that are missing, if `options.fit`; write `adapters.json`, the tables (`README.md`) and the
    plots, and the headline into the card, if one is given. Returns the tables.

    Raises `DataError`, `CheckpointError` and `CardError`.
    """
    if options.card is not None:  # before hours of work, not after them
        check(options.card, [HEADLINE])
    path = options.units.parent / PACK
    if options.fit:
        _compute(options, path)
    report = evaluate(path, options.units)
    options.out.mkdir(parents=True, exist_ok=True)
    written = options.out / REPORT
    written.write_text(dump_report(report), encoding="utf-8")
    # Everything below shows what was written, to the digit, so that it can be made again from the file.
    report = load_report(written)
    text = tables(report, write_plots(report, options.out))
    (options.out / TABLES).write_text(text, encoding="utf-8")
    if options.card is not None and bring_up_to_date(options.card, {HEADLINE: headline(report)}):
        options.progress(f"{options.card} was brought up to date")
    return text


def evaluate(path: Path, units: Path) -> AdaptersReport:
    """What the folder `units` holds, with the facts of the pack at `path`. Raises `DataError`."""
    if not units.is_dir():
        raise DataError(f"{units}: no such folder; `python -m training adapter-units` fills one")
    pack, record = load_pack(path), Record.open(units)
    results, facts = list(record.results.values()), source_facts(pack)
    return AdaptersReport(
        suite="adapters",
        backbone=pack.backbone,
        pack=pack_digest(path),
        machines=dict(Counter(result.machine for result in results)),
        sources=facts,
        paper_share=share_of(design("msa-lo"), backbone_shape("ViT-B-16")),
        groups=grouped(results),
        tried=rates_tried(results),
        timing=read_timing(units),
        features=measure_features(pack, record.states, facts),
    )


def _compute(options: SuiteOptions, path: Path) -> None:
    """The pack, the units and the timing, as far as they are missing."""
    if not path.is_file():
        save_pack(path, _packed(options))
    device = choose_device("auto")
    plan = Plan.FULL if device.type == "cuda" else Plan.CPU
    grid = make_grid(plan)
    options.progress(f"the plan {plan}: {', '.join(grid.PARTS)}")
    run_grid(grid, grid.PARTS, RunOptions(path, options.units, "auto", 0, 0, options.progress))
    if read_timing(options.units) is None:
        keep_timing(options.units, measure_timing(device))


def _packed(options: SuiteOptions) -> Pack:
    return make_pack(options.data, RUN, progress=options.progress)
