"""Variants: what each is worth beside the backbone that it was made from, and whether it should vote by default."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import onnxruntime as ort

from service.repository import Zoo, load_zoo
from training.data.rows import DataError, Row
from training.data.sources import available_sources, read_rows
from training.data.splits import Split
from training.evaluate.aggregate import Measured, mean_difference, mean_score
from training.evaluate.members import Member, open_members
from training.evaluate.provenance import fitted_sources
from training.evaluate.statistics import DRAWS
from training.evaluate.suites import SuiteOptions
from training.evaluate.suites.variants_report import (
    ELSEWHERE,
    EVERYTHING,
    OWN,
    Compared,
    ComparedTask,
    VariantReport,
    VariantsReport,
    dump_report,
    load_report,
)
from training.evaluate.suites.variants_tables import REPORT, tables
from training.evaluate.suites.zoo import facts_of, labelled, retrieval
from training.evaluate.suites.zoo_report import TaskReport
from training.evaluate.tasks import RetrievalSet, Task, labelled_tasks, retrieval_sets

TABLES: Final = "README.md"
LABELLED, RETRIEVAL = "mean", "mean_logit"
"""What answers where nothing was fitted: the mean of probabilities, in retrieval that of scores."""

Thing = Task | RetrievalSet


@dataclass(frozen=True)
class Beside:
    """A variant, the backbone that it was made from, and the committee."""

    variant: Member
    base: Member
    committee: tuple[Member, ...]


def run(options: SuiteOptions) -> str:
    """Compare; write `variants.json` and the tables (`README.md`). Returns the tables.

    Raises `DataError` where the repository holds no variant, and `RepositoryError`.
    """
    zoo = load_zoo(options.repository)
    everyone = open_members(zoo, options.cache)
    rows = list(read_rows(options.data, available_sources(options.data)))
    report = evaluate(rows, zoo, everyone, options.progress)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / REPORT
    path.write_text(dump_report(report), encoding="utf-8")
    # The tables show what was written, to the digit, so that they can be made again from the file.
    text = tables(load_report(path))
    (options.out / TABLES).write_text(text, encoding="utf-8")
    return text


def evaluate(
    rows: Sequence[Row], zoo: Zoo, members: Sequence[Member], progress: Callable[[str], None]
) -> VariantsReport:
    """Every variant of `zoo` on every test split of `rows`. Raises `DataError` without a variant."""
    beside = variants_of(members)
    if not beside:
        raise DataError("no backbone of the repository is a variant of another (NAME and NAME-DESIGN)")
    things: list[Thing] = [*labelled_tasks(rows, Split.TEST), *retrieval_sets(rows, Split.TEST)]
    return VariantsReport(
        suite="variants",
        machine=f"{platform.machine()}, {platform.system()}, onnxruntime {ort.__version__}, CPU",
        interval=f"95% bootstrap, {DRAWS} resamples of the pictures of each task",
        committee={member.name: facts_of(member) for member in members if member.name in zoo.committee.names},
        variants=tuple(_variant(each, things, progress) for each in beside),
    )


def variants_of(members: Sequence[Member]) -> list[Beside]:
    """Backbones whose name begins with that of another, as export names what was made from it (`vit-s-msa`)."""
    found = []
    for member in members:
        bases = [other for other in members if member.name.startswith(f"{other.name}-")]
        if bases:
            base = max(bases, key=lambda each: len(each.name))
            others = (each for each in members if each.backbone.votes == "by_default" and each is not member)
            found.append(Beside(member, base, tuple(others)))
    return found


def _variant(beside: Beside, things: Sequence[Thing], progress: Callable[[str], None]) -> VariantReport:
    fitted_on = fitted_sources(beside.variant.backbone.image.config.provenance)
    found: list[tuple[ComparedTask, Measured]] = []
    for thing in things:
        progress(f"{beside.variant.name}: {thing.source}, {len(thing.rows)} pictures")
        found.append(_compared(beside, thing, fitted=thing.source in fitted_on))
    groups = {
        EVERYTHING: [measured for _, measured in found],
        ELSEWHERE: [measured for task, measured in found if not task.fitted],
        OWN: [measured for task, measured in found if task.fitted],
    }
    return VariantReport(
        name=beside.variant.name,
        base=beside.base.name,
        votes=beside.variant.backbone.votes,
        facts=facts_of(beside.variant),
        fitted_on=tuple(sorted(fitted_on)),
        tasks=tuple(task for task, _ in found),
        means={name: _scores(group) for name, group in groups.items() if group},
    )


def _compared(beside: Beside, thing: Thing, *, fitted: bool) -> tuple[ComparedTask, Measured]:
    policy = LABELLED if isinstance(thing, Task) else RETRIEVAL
    report, joined = _measured((*beside.committee, beside.variant), thing)
    _, committee = _measured(beside.committee, thing)
    _, base = _measured((beside.base,), thing)
    # Resamples follow from the task alone, so that what is compared was drawn alike.
    sources = {
        "base": (base, beside.base.name),
        "alone": (joined, beside.variant.name),
        "committee": (committee, policy),
        "joined": (joined, policy),
    }
    measured = Measured(
        task=report.task,
        values={name: each.values[key] for name, (each, key) in sources.items()},
        truth=joined.truth,
        score={name: each.score[key] for name, (each, key) in sources.items()},
        resampled={name: each.resampled[key] for name, (each, key) in sources.items()},
    )
    task = ComparedTask(
        task=report.task,
        classes=report.classes,
        items=report.items,
        fitted=fitted,
        rows_sha256=report.rows_sha256,
        scores=_scores([measured]),
    )
    return task, measured


def _measured(members: Sequence[Member], thing: Thing) -> tuple[TaskReport, Measured]:
    return labelled(members, thing) if isinstance(thing, Task) else retrieval(members, thing)


def _scores(tasks: Sequence[Measured]) -> Compared:
    return Compared(
        base=mean_score(tasks, "base"),
        alone=mean_score(tasks, "alone"),
        committee=mean_score(tasks, "committee"),
        joined=mean_score(tasks, "joined"),
        gain=mean_difference(tasks, "joined", "committee"),
        over_base=mean_difference(tasks, "alone", "base"),
    )
