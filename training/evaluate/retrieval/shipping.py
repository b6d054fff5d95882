"""The retrieval controllers as they are shipped: fitted by the gateway's own ladder, the cascade chosen beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from service.pipeline.controller.controller import Controller
from service.pipeline.controller.ladder import Climbed, climb
from service.pipeline.controller.report import LadderReport
from service.pipeline.shipped.files import committee_members
from service.pipeline.shipped.retrieval_file import (
    FORM,
    QUERY_KINDS,
    JudgedController,
    RetrievalAbout,
    RetrievalSource,
    write_retrieval,
)
from service.policies import QueryKind
from service.repository import Zoo, load_zoo
from training.data.rows import DataError, Row
from training.data.sources import available_sources, read_rows
from training.data.splits import RESERVED_SOURCES, Split
from training.evaluate.cache import digest_of
from training.evaluate.markdown import markdown_table, points
from training.evaluate.members import open_members
from training.evaluate.retrieval.choice import CascadeChoice, K, Stages, choose
from training.evaluate.retrieval.examples import retrieval_examples
from training.evaluate.retrieval.pairs import WORDS, Pairs, SearchTask, gflops_of, open_pairs
from training.evaluate.retrieval.search import alike, opinions_of, search
from training.evaluate.tasks import RetrievalSet, retrieval_sets

Controllers = Mapping[QueryKind, Controller]
ByKind = Mapping[QueryKind, Sequence[SearchTask]]


@dataclass(frozen=True)
class ShippingOptions:
    """`data`: folders of Parquet files; `repository`: where the zoo is and the file goes; `cache`: the folder for
    embeddings; `progress` hears what is at work."""

    data: tuple[Path, ...]
    repository: Path
    seed: int
    cache: Path
    progress: Callable[[str], None]


@dataclass(frozen=True)
class Recalls:
    """Recall at 10 of one kind of query on the `calibrate` rows of one source, shares of 1. `best` is a backbone."""

    kind: QueryKind
    source: str
    best: str
    single: float
    mean: float
    nlc: float
    cascade: float


def ship_retrieval(options: ShippingOptions) -> str:
    """Fit both controllers, choose the cascade and write the file; where a controller does not carry, remove the one
    that lies there.

    Returns tables and the verdict. Raises `RepositoryError`, and `DataError` where there is no source to fit on.
    """
    zoo = load_zoo(options.repository).committee
    if len(zoo.backbones) < 2:
        raise DataError(f"{options.repository}: there is one backbone only, and nothing to weigh")
    splits = _splits(options, zoo)
    fit = [pairs for pairs, _ in splits]
    calibrate: ByKind = {kind: [pairs.task(kind) for _, pairs in splits] for kind in QUERY_KINDS}
    climbed = {kind: _climb(fit, kind, options) for kind in QUERY_KINDS}
    text = ladder_table({kind: found.report for kind, found in climbed.items()})
    controllers = {kind: found.controller for kind, found in climbed.items() if found.controller is not None}
    reasons = [f"{WORDS[kind]}: {reason}" for kind, found in climbed.items() for reason in found.report.reasons]
    if reasons:
        return f"{text}\n\n{_refused(options.repository, reasons)}"
    options.progress("prefix and thresholds")
    choice = choose(calibrate, controllers, {kind: gflops_of(zoo, kind) for kind in QUERY_KINDS})
    recalls = recalls_of(calibrate, controllers, choice)
    text = f"{text}\n\n{recall_table(recalls)}\n\n{cascade_table(choice)}"
    if behind := losers(recalls):
        return f"{text}\n\n{_refused(options.repository, behind)}"
    about = RetrievalAbout(
        seed=options.seed,
        committee=committee_members(zoo.backbones),
        sources=tuple(_source(fitted, calibrated) for fitted, calibrated in splits),
        controllers={
            kind: judged_controller(found.report, [each for each in recalls if each.kind == kind])
            for kind, found in climbed.items()
        },
        cascade=choice.judged,
    )
    path = write_retrieval(options.repository, controllers, choice.prefix, choice.thresholds, about)
    return f"{text}\n\nBoth controllers beat the mean of logits on held-out queries: {path} is written."


def _splits(options: ShippingOptions, zoo: Zoo) -> list[tuple[Pairs, Pairs]]:
    """Per source that is not reserved its `fit` and its `calibrate` rows, by source name. Raises `DataError`."""
    rows = list(read_rows(options.data, available_sources(options.data)))
    members = open_members(zoo, options.cache)
    fit, calibrate = (_by_source(rows, split) for split in (Split.FIT, Split.CALIBRATE))
    sources = sorted(fit.keys() & calibrate.keys())
    if not sources:
        raise DataError("there is no source of pictures with captions, and without labels, to fit and to calibrate on")
    return [
        (open_pairs(members, fit[name], options.progress), open_pairs(members, calibrate[name], options.progress))
        for name in sources
    ]


def _by_source(rows: Sequence[Row], split: Split) -> dict[str, RetrievalSet]:
    return {each.source: each for each in retrieval_sets(rows, split) if each.source not in RESERVED_SOURCES}


def _climb(fit: Sequence[Pairs], kind: QueryKind, options: ShippingOptions) -> Climbed:
    examples = retrieval_examples(fit, kind, options.seed)
    options.progress(f"{WORDS[kind]}: the ladder on {len(examples)} examples of {examples.classes} candidates")
    return climb(examples, options.seed)


def judged_controller(report: LadderReport, recalls: Sequence[Recalls]) -> JudgedController:
    """What an accepted fit says of itself, and its recalls elsewhere. Raises `ValueError` for a refused one."""
    if report.held_out is None or report.strength is None or report.rung not in ("static", "nlc"):
        raise ValueError("the ladder refused this fit")
    rung: Literal["static", "nlc"] = "static" if report.rung == "static" else "nlc"
    best = min(report.backbones, key=lambda name: (-report.backbones[name].accuracy, name))
    mean = report.unfitted["mean_logit"]
    return JudgedController(
        rung=rung,
        strength=report.strength,
        examples=report.about.examples,
        candidates=report.about.classes,
        accuracy=report.held_out.accuracy,
        loss=report.held_out.loss,
        mean_accuracy=mean.accuracy,
        mean_loss=mean.loss,
        best=best,
        best_accuracy=report.backbones[best].accuracy,
        best_loss=report.backbones[best].loss,
        recall=float(np.mean([each.nlc for each in recalls])),
        mean_recall=float(np.mean([each.mean for each in recalls])),
    )


def _source(fit: Pairs, calibrate: Pairs) -> RetrievalSource:
    return RetrievalSource(
        name=fit.source,
        fit_sha256=_rows_digest(fit),
        fit_pictures=len(fit.rows),
        captions=len(fit.owner),
        calibrate_sha256=_rows_digest(calibrate),
        calibrate_pictures=len(calibrate.rows),
    )


def _rows_digest(pairs: Pairs) -> str:
    return digest_of(sorted(row.digest for row in pairs.rows))


def recalls_of(calibrate: ByKind, controllers: Controllers, choice: CascadeChoice) -> tuple[Recalls, ...]:
    """Recall at 10 on rows that no controller was fitted on (the cascade was chosen on them)."""
    return tuple(
        _recalls(task, controllers[kind], choice.prefix, choice.thresholds[kind])
        for kind in QUERY_KINDS
        for task in calibrate[kind]
    )


def _recalls(task: SearchTask, controller: Controller, prefix: Sequence[str], threshold: float) -> Recalls:
    singles = {name: _recall(task, search(task, [name], alike(task, [name])).hits(K)) for name in task.names}
    best = min(singles, key=lambda name: (-singles[name], name))
    first = search(task, prefix, opinions_of(controller, task, prefix))
    full = search(task, task.names, opinions_of(controller, task, task.names))
    return Recalls(
        kind=task.kind,
        source=task.source,
        best=best,
        single=singles[best],
        mean=_recall(task, search(task, task.names, alike(task, task.names)).hits(K)),
        nlc=_recall(task, full.hits(K)),
        cascade=_recall(task, Stages(task, first, full).hits(threshold, K)),
    )


def _recall(task: SearchTask, hits: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> float:
    return float(task.per_query @ hits)


def losers(recalls: Sequence[Recalls]) -> list[str]:
    """Kinds of query whose controller falls behind the mean of logits, over sources that count the same; sentences."""
    found = []
    for kind in QUERY_KINDS:
        own = [each for each in recalls if each.kind == kind]
        nlc, mean = (float(np.mean([getattr(each, name) for each in own])) for name in ("nlc", "mean"))
        if nlc < mean:
            found.append(
                f"{WORDS[kind]}: recall at 10 was {points(nlc)} %, that of the mean of logits {points(mean)} %."
            )
    return found


def _refused(repository: Path, reasons: Sequence[str]) -> str:
    stale = FORM.withdraw(repository)
    lay = "" if stale is None else f", and {stale}, which lay there, is removed"
    return "\n".join([f"Nothing is written{lay}.", *(f"- {reason}" for reason in reasons)])


def ladder_table(reports: Mapping[QueryKind, LadderReport]) -> str:
    """Both climbs on held-out examples: first among the candidates in percent, and the loss in nats."""
    rows = []
    for kind, report in reports.items():
        best = min(report.backbones.items(), key=lambda item: (-item[1].accuracy, item[0]))
        scores = [report.held_out, report.unfitted["mean_logit"], best[1]]
        cells = ["" if each is None else f"{points(each.accuracy)}, {each.loss:.3f}" for each in scores]
        about = report.about
        strength = "" if report.strength is None else f", {report.strength:g}"
        rows.append([WORDS[kind], f"{about.examples:,}", f"{about.classes}", f"{report.rung}{strength}", *cells])
        rows[-1][-1] += f" (`{best[0]}`)"
    header = ["queries", "examples", "candidates", "rung, strength", "controller", "mean of logits", "best backbone"]
    note = "Held-out examples of the fit split: the truth first among the candidates in percent, loss in nats."
    return f"{note}\n\n{markdown_table(header, rows)}"


def recall_table(recalls: Sequence[Recalls]) -> str:
    """Recall at 10 on the calibrate split."""
    rows = [
        [
            WORDS[each.kind],
            each.source,
            f"{points(each.single)} (`{each.best}`)",
            *(points(value) for value in (each.mean, each.nlc, each.cascade)),
        ]
        for each in recalls
    ]
    header = ["queries", "source", "best backbone", "mean of logits", "nlc", "cascade"]
    return f"Recall at {K} in percent on the calibrate split.\n\n{markdown_table(header, rows)}"


def cascade_table(choice: CascadeChoice) -> str:
    """Prefix and thresholds, and what they did where they were chosen."""
    rows = [
        [
            WORDS[kind],
            f"{choice.thresholds[kind]:.4f}",
            points(judged.escalated),
            points(judged.gflops_share),
            f"{100 * judged.lost:+.2f} ± {100 * judged.standard_error:.2f}",
        ]
        for kind, judged in choice.judged.items()
    ]
    header = ["queries", "threshold", "escalated, %", "GFLOPs, % of the committee's", f"R@{K} lost, points"]
    prefix = ", ".join(f"`{name}`" for name in choice.prefix)
    note = (
        f"The cascade's prefix is {prefix}. Over both kinds of query it costs {points(choice.gflops_share)} % of the "
        f"committee's GFLOPs and loses {100 * choice.lost:+.2f} ± {100 * choice.standard_error:.2f} points."
    )
    return f"{note}\n\n{markdown_table(header, rows)}"
