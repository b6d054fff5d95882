"""The zoo: every backbone alone, the plain committees, and what an oracle could make of them, on every test split."""

import platform
from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime as ort

from service.pipeline.logits import Floats, backbone_logits, cosines
from service.repository import Zoo, load_zoo
from training.data.rows import Row
from training.data.sources import DataDirs, available_sources, read_rows
from training.data.splits import Split
from training.evaluate.aggregate import Measured
from training.evaluate.cache import digest_of
from training.evaluate.card import bring_up_to_date, check
from training.evaluate.diversity import answers_differ
from training.evaluate.members import Member, Pictures, open_members
from training.evaluate.prompts import TEMPLATES, kind_of, templates_of
from training.evaluate.provenance import trained_sources
from training.evaluate.statistics import DRAWS, resamples
from training.evaluate.suites import SuiteOptions
from training.evaluate.suites.zoo_aggregate import committees_by_cost, groups_of, pair_name
from training.evaluate.suites.zoo_card import SECTIONS, card_sections
from training.evaluate.suites.zoo_measure import (
    fold,
    image_to_text,
    label_answers,
    measure,
    pair_answers,
    pair_matrix,
    predicted_classes,
    text_to_image,
    values_of,
)
from training.evaluate.suites.zoo_plots import write_plots
from training.evaluate.suites.zoo_report import BackboneFacts, TaskReport, ZooReport, dump_report, load_report
from training.evaluate.suites.zoo_tables import tables
from training.evaluate.tasks import RetrievalSet, Task, labelled_tasks, retrieval_sets
from training.evaluate.zero_shot import class_matrix

REPORT = "zoo.json"
TABLES = "README.md"
RECALL_AT = (1, 5, 10)


def run(options: SuiteOptions) -> str:
    """Measure the zoo; write `zoo.json`, the tables (`README.md`) and the plots, and bring the model card up to date.

    Returns the tables. Raises `DataError`, `RepositoryError` and `CardError`.
    """
    zoo = load_zoo(options.repository)
    if options.card is not None:  # before minutes of work, not after them
        check(options.card, SECTIONS)
    committee = zoo.committee
    report = evaluate(options.data, committee, open_members(committee, options.cache), options.progress)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / REPORT
    path.write_text(dump_report(report), encoding="utf-8")
    # Everything below shows what was written, to the digit, so that it can be made again from the file.
    report = load_report(path)
    text = tables(report)
    (options.out / TABLES).write_text(text, encoding="utf-8")
    write_plots(report, options.out)
    if options.card is not None and bring_up_to_date(options.card, card_sections(report, zoo)):
        options.progress(f"{options.card} was brought up to date")
    return text


def evaluate(data: DataDirs, zoo: Zoo, members: Sequence[Member], progress: Callable[[str], None]) -> ZooReport:
    """Every task in `data` by every backbone. Raises `DataError`."""
    rows = list(read_rows(data, available_sources(data)))
    pairs: list[tuple[TaskReport, Measured]] = []
    for task in labelled_tasks(rows, Split.TEST):
        progress(f"{task.source}: {len(task.rows)} pictures, {len(task.classes)} classes")
        pairs.append(labelled(members, task))
    for captioned in retrieval_sets(rows, Split.TEST):
        progress(f"{captioned.source}: {len(captioned.rows)} pictures, {len(captioned.captions)} captions")
        pairs.append(retrieval(members, captioned))
    kinds = sorted({report.picture for report, _ in pairs if report.classes is not None})
    return ZooReport(
        suite="zoo",
        machine=f"{platform.machine()}, {platform.system()}, onnxruntime {ort.__version__}, CPU",
        interval=f"95% bootstrap, {DRAWS} resamples of the pictures of each task",
        backbones={member.name: facts_of(member) for member in members},
        templates={kind: TEMPLATES[kind] for kind in kinds},
        tasks=tuple(report for report, _ in pairs),
        aggregates=groups_of(pairs, zoo.names),
        committees=committees_by_cost(zoo, [found for report, found in pairs if report.classes is not None]),
    )


def labelled(members: Sequence[Member], task: Task) -> tuple[TaskReport, Measured]:
    """Top-1 accuracy, balanced where the task is not."""
    names = [member.name for member in members]
    logits = task_logits(members, task)
    truth = None if task.balanced else task.truth
    weights = resamples(len(task.rows), truth, name=task.source)
    answers = label_answers(logits, task.truth)
    values = dict(values_of(names, answers, weights))
    for (a, b), right in pair_answers(logits, task.truth).items():
        values[pair_name(names[a], names[b])] = right.astype(np.float64)
    title = "top-1 accuracy" if task.balanced else "top-1 balanced accuracy"
    differ = answers_differ(predicted_classes(logits), weights.point)
    report = TaskReport(
        task=task.source,
        picture=kind_of(task.source),
        novelty=_novelty(task.novelty, _trained_on(members, task.source)),
        items=len(task.rows),
        classes=len(task.classes),
        rows_sha256=rows_digest(task.rows),
        trained_on=_trained_on(members, task.source),
        measures=(measure(title, names, answers, weights),),
        answers_differ=pair_matrix(differ),
    )
    return report, Measured.of(task.source, values, weights, truth)


def task_logits(members: Sequence[Member], task: Task) -> Floats:
    """float32[b, n, c], temperature-scaled, by the gateway's own functions."""
    pictures = Pictures(task.rows)
    templates = templates_of(task.source)
    logits = []
    for member in members:
        cosine = cosines(member.images(pictures), class_matrix(member.texts, task.classes, templates))
        logits.append(backbone_logits(cosine, member.backbone.logit_scale, member.backbone.temperature))
    return np.stack(logits)


def retrieval(members: Sequence[Member], captioned: RetrievalSet) -> tuple[TaskReport, Measured]:
    """Recall at 1, 5 and 10 in both directions; for means over tasks, the mean of the six."""
    names = [member.name for member in members]
    scores = retrieval_scores(members, captioned)
    weights = resamples(len(captioned.rows), name=captioned.source)
    # Who asks, and which picture each question belongs to: that picture is what is resampled.
    captions, pictures = captioned.owner, np.arange(len(captioned.rows))
    measures, folded = [], []
    for direction, answer, asking in (
        ("text to image", text_to_image, captions),
        ("image to text", image_to_text, pictures),
    ):
        spread = weights.spread(asking)
        for k in RECALL_AT:
            answers = answer(scores, captions, k)
            measures.append(measure(f"{direction} R@{k}", names, answers, spread))
            folded.append({name: fold(row, asking) for name, row in values_of(names, answers, spread).items()})
    report = TaskReport(
        task=captioned.source,
        picture=kind_of(captioned.source),
        novelty=_novelty(captioned.novelty, _trained_on(members, captioned.source)),
        items=len(captioned.rows),
        classes=None,
        rows_sha256=rows_digest(captioned.rows),
        trained_on=_trained_on(members, captioned.source),
        measures=tuple(measures),
        answers_differ=None,
    )
    means = {name: np.mean([values[name] for values in folded], axis=0) for name in folded[0]}
    return report, Measured.of(captioned.source, means, weights, None)


def retrieval_scores(members: Sequence[Member], captioned: RetrievalSet) -> Floats:
    """float32[b, captions, pictures], scaled as logits are: their mean is what a committee's gallery computes."""
    pictures, captions = Pictures(captioned.rows), captioned.captions
    return np.stack(
        [
            backbone_logits(
                cosines(member.texts(captions), member.images(pictures)),
                member.backbone.logit_scale,
                member.backbone.temperature,
            )
            for member in members
        ]
    )


def rows_digest(rows: Sequence[Row]) -> str:
    """The images of a task, as one digest: equal where two evaluations saw the same pictures."""
    return digest_of(sorted(row.digest for row in rows))


def facts_of(member: Member) -> BackboneFacts:
    backbone = member.backbone
    trained = trained_sources(backbone.image.config.provenance)
    return BackboneFacts(
        family=backbone.family,
        gflops=backbone.gflops,
        temperature=backbone.temperature,
        image_sha256=backbone.image.config.sha256,
        text_sha256=backbone.text.config.sha256,
        trained_on=None if trained is None else tuple(sorted(trained)),
    )


def _trained_on(members: Sequence[Member], source: str) -> dict[str, bool | None]:
    trained = {member.name: trained_sources(member.backbone.image.config.provenance) for member in members}
    return {name: None if sources is None else source in sources for name, sources in trained.items()}


def _novelty(novelty: str, trained_on: dict[str, bool | None]) -> str:
    """A source that could have been trained on but was not, by any of these backbones, is an unseen one."""
    return "unseen source" if all(seen is False for seen in trained_on.values()) else novelty
