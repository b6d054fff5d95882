"""Retrieval: what the shipped controllers and their cascade find in galleries, beside every backbone alone."""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from service.pipeline.shipped.retrieval import ShippedRetrieval, load_shipped_retrieval
from service.pipeline.shipped.retrieval_file import QUERY_KINDS, RetrievalFile
from service.policies import QueryKind
from service.repository import Zoo, load_zoo
from training.data.rows import DataError, Row
from training.data.sources import DataDirs, available_sources, read_rows
from training.data.splits import Split
from training.evaluate.card import bring_up_to_date, check
from training.evaluate.members import Member, open_members
from training.evaluate.retrieval.measure import Costs, measure_set
from training.evaluate.retrieval.pairs import Pairs, gflops_of, open_pairs
from training.evaluate.retrieval.plots import write_plots
from training.evaluate.retrieval.report import (
    BackboneFacts,
    K,
    Realism,
    RetrievalReport,
    Shipped,
    dump_report,
    load_report,
)
from training.evaluate.retrieval.search import Block, folding_error, opinions_of, search
from training.evaluate.retrieval.synthetic import Distractors
from training.evaluate.retrieval.tables import REPORT, headline, tables
from training.evaluate.statistics import DRAWS
from training.evaluate.suites import SuiteOptions
from training.evaluate.tasks import retrieval_sets

TABLES = "README.md"
HEADLINE = "retrieval"
"""The section of a card."""

GALLERY = 100_000
"""Items of the large gallery: the largest set's own and synthetic ones."""


def run(options: SuiteOptions) -> str:
    """Measure every retrieval set; write `retrieval.json`, the tables (`README.md`) and the plots, and the headline
    into the card, if one is given. Returns the tables.

    Raises `DataError`, `RepositoryError` and `CardError`.
    """
    if options.card is not None:  # before minutes of work, not after them
        check(options.card, [HEADLINE])
    zoo = load_zoo(options.repository).committee
    shipped = shipped_in(options.repository, zoo)
    members = [each for each in open_members(zoo, options.cache) if each.name in shipped.file.backbones]
    report = evaluate(options.data, zoo, members, shipped, options.progress, gallery=GALLERY)
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


def shipped_in(repository: Path, zoo: Zoo) -> ShippedRetrieval:
    """Raises `DataError` where there is nothing to measure, or it does not apply to the zoo."""
    shipped = load_shipped_retrieval(repository, zoo)
    if shipped is None:
        raise DataError(f"{repository} ships no retrieval controllers; `python -m training retrieval` fits them")
    if shipped.reason is not None:
        raise DataError(f"{shipped.name} does not apply to {repository}. {shipped.reason}")
    return shipped


def evaluate(
    data: DataDirs,
    zoo: Zoo,
    members: Sequence[Member],
    shipped: ShippedRetrieval,
    progress: Callable[[str], None],
    *,
    gallery: int,
) -> RetrievalReport:
    """Every retrieval set in `data`, the largest first, and that one again in a gallery of `gallery` items.

    Raises `DataError`.
    """
    rows = list(read_rows(data, available_sources(data)))
    opened = [open_pairs(members, each, progress) for each in retrieval_sets(rows, Split.TEST)]
    if not opened:
        raise DataError("there is no set of pictures with captions, and without labels, to search in")
    opened.sort(key=lambda pairs: (-len(pairs.rows), pairs.source))
    names = [member.name for member in members]
    gflops: Costs = {
        kind: {name: cost for name, cost in gflops_of(zoo, kind).items() if name in names} for kind in QUERY_KINDS
    }
    sets = [measure_set(pairs, shipped.file, gflops) for pairs in opened]
    largest, pools = opened[0], _pools(members, rows, opened[0].source, progress)
    realism: tuple[Realism, ...] = ()
    if pools:
        progress(f"{largest.source}: galleries of {gallery:,} items")
        realism = tuple(_realism(largest, kind, shipped.file, pools[kind]) for kind in QUERY_KINDS)
        sets.append(measure_set(largest, shipped.file, gflops, _large(largest, pools, gallery)))
    return RetrievalReport(
        suite="retrieval",
        machine=f"{platform.machine()}, {platform.system()}, onnxruntime {ort.__version__}, CPU",
        interval=f"95% bootstrap, {DRAWS} resamples of the pictures of each set",
        backbones={member.name: _facts(member) for member in members},
        shipped=_shipped(shipped),
        sets=tuple(sets),
        realism=realism,
        folding_error=max(
            folding_error(task, opinions_of(shipped.file.controllers[kind], task, task.names))
            for pairs in opened
            for kind in QUERY_KINDS
            for task in [pairs.task(kind)]
        ),
    )


def _pools(
    members: Sequence[Member], rows: Sequence[Row], source: str, progress: Callable[[str], None]
) -> dict[QueryKind, Block]:
    """What the source has besides its test split, by kind of query what such a query looks for; empty for nothing."""
    splits = [Split.TOWER_TRAIN, Split.FIT, Split.CALIBRATE]
    others = [each for split in splits for each in retrieval_sets(rows, split) if each.source == source]
    opened = [open_pairs(members, each, progress) for each in others]
    if not opened:
        return {}
    return {kind: _joined([pairs.task(kind).items for pairs in opened]) for kind in QUERY_KINDS}


def _joined(parts: Sequence[Block]) -> Block:
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _large(pairs: Pairs, pools: Mapping[QueryKind, Block], gallery: int) -> Distractors:
    """As many synthetic items as fill the galleries up."""
    counts = {kind: max(0, gallery - len(pairs.task(kind).owner)) for kind in QUERY_KINDS}
    return Distractors(pairs.source, counts, pools)


def _realism(pairs: Pairs, kind: QueryKind, file: RetrievalFile, pool: Block) -> Realism:
    task = pairs.task(kind)
    opinions = opinions_of(file.controllers[kind], task, task.names)
    count = len(pool[0])
    synthetic = Distractors(f"{pairs.source}/as many", {kind: count}, {kind: pool})

    def recall(others: Iterable[Block]) -> float:
        return float(task.per_query @ search(task, task.names, opinions, others).hits(K))

    return Realism(kind, pairs.source, count, real=recall([pool]), synthetic=recall(synthetic.blocks(kind)))


def _facts(member: Member) -> BackboneFacts:
    backbone = member.backbone
    return BackboneFacts(
        family=backbone.family,
        image_gflops=backbone.image.config.gflops,
        text_gflops=backbone.text.config.gflops,
        temperature=backbone.temperature,
        image_sha256=backbone.image.config.sha256,
        text_sha256=backbone.text.config.sha256,
    )


def _shipped(shipped: ShippedRetrieval) -> Shipped:
    file = shipped.file
    return Shipped(shipped.name, file.digest, file.prefix, dict(file.thresholds), file.about)
