"""The generic controller as it is shipped: fitted on every labelled source, judged on each by a fit without it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.pipeline.shipped.generic_file import (
    FILE_NAME,
    GenericAbout,
    JudgedSource,
    committee_members,
    write_generic,
)
from service.repository import load_zoo
from training.data.rows import DataError
from training.data.sources import available_sources, read_rows
from training.data.splits import Split
from training.evaluate.cache import digest_of
from training.evaluate.generic import FEWEST_SOURCES, Source, fit_generic, judge_generic
from training.evaluate.markdown import markdown_table, points
from training.evaluate.members import Member, Pictures, open_members
from training.evaluate.prompts import templates_of
from training.evaluate.tasks import Task, labelled_tasks
from training.evaluate.zero_shot import class_matrix


@dataclass(frozen=True)
class ShippingOptions:
    """`data`: folders of Parquet files; `repository`: where the zoo is and the file goes; `cache`: the folder for
    embeddings; `progress` hears what is at work."""

    data: tuple[Path, ...]
    repository: Path
    seed: int
    cache: Path
    progress: Callable[[str], None]


def ship_generic(options: ShippingOptions) -> str:
    """Fit, judge and write the file; where the controller loses against the mean, remove the one that lies there.

    Returns a table and the verdict. Raises `RepositoryError`, and `DataError` where there are too few sources.
    """
    zoo = load_zoo(options.repository).committee
    tasks = labelled_tasks(read_rows(options.data, available_sources(options.data)), Split.FIT)
    if len(tasks) < FEWEST_SOURCES:
        raise DataError(
            f"A generic controller is judged by leaving sources out: {FEWEST_SOURCES} with labels are needed, "
            f"{len(tasks)} have rows in the fit split."
        )
    members = open_members(zoo, options.cache)
    sources = []
    for task in tasks:
        options.progress(f"{task.source}: {len(task.rows)} pictures, {len(task.classes)} classes")
        sources.append(source_of(members, task))
    report = judge_generic(sources, options.seed, options.progress)
    judged = zip(tasks, report.judged, strict=True)
    about = GenericAbout(
        seed=options.seed,
        committee=committee_members(zoo.backbones),
        sources=tuple(
            JudgedSource(
                name=task.source,
                rows_sha256=digest_of(sorted(row.digest for row in task.rows)),
                images=found.images,
                classes=len(task.classes),
                accuracy=found.accuracy,
                mean_accuracy=found.mean_accuracy,
                loss=found.loss,
                mean_loss=found.mean_loss,
            )
            for task, found in judged
        ),
    )
    if report.ships:
        options.progress("the controller of all sources")
        path = write_generic(options.repository, fit_generic(sources, options.seed), about)
        verdict = f"It beats the probability mean: {path} is written."
    else:
        verdict = f"It does not beat the probability mean by both measures: {_withdrawn(options.repository)}"
    return f"{table(about.sources)}\n\n{_gains(about)} {verdict}"


def source_of(members: Sequence[Member], task: Task) -> Source:
    """A task as the zoo sees it, under the templates of its source."""
    pictures, templates = Pictures(task.rows), templates_of(task.source)
    return Source(
        name=task.source,
        embeddings=tuple(member.images(pictures) for member in members),
        class_embeddings=tuple(class_matrix(member.texts, task.classes, templates) for member in members),
        scales=tuple(member.backbone.logit_scale / member.backbone.temperature for member in members),
        truth=task.truth,
    )


def table(sources: Sequence[JudgedSource]) -> str:
    """Every source under the fit without it, beside the probability mean."""
    rows = [
        [
            source.name,
            f"{source.images:,}",
            f"{source.classes:,}",
            points(source.mean_accuracy),
            points(source.accuracy),
            f"{100 * (source.accuracy - source.mean_accuracy):+.2f}",
            f"{source.mean_loss:.3f}",
            f"{source.loss:.3f}",
            f"{source.mean_loss - source.loss:+.4f}",
        ]
        for source in sources
    ]
    header = ["left out", "pictures", "classes", "mean", "generic", "gain", "mean, nats", "generic, nats", "gain, nats"]
    note = (
        "Balanced accuracy in percent, and negative log likelihood at the best temperature, of fits without the source."
    )
    return f"{note}\n\n{markdown_table(header, rows)}"


def _gains(about: GenericAbout) -> str:
    gains = f"{100 * about.accuracy_gain:+.2f} points, {about.loss_gain:+.4f} nats"
    return f"Mean gain over {len(about.sources)} sources: {gains}."


def _withdrawn(repository: Path) -> str:
    stale = repository / FILE_NAME
    if not stale.is_file():
        return "nothing is written."
    stale.unlink()
    return f"nothing is written, and {stale}, which lay there, is removed."
