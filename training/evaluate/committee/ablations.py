"""What the paper leaves open, form by form: the link to weights, features' length, a hidden layer or none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx

from service.pipeline.controller.controller import committee_logits
from service.pipeline.controller.examples import Examples, make_examples
from service.pipeline.controller.fit import PAPER, FormFit, fit_form
from service.pipeline.controller.gradient import Form
from service.pipeline.logits import Floats
from training.evaluate.committee.draws import draw
from training.evaluate.committee.estimates import (
    Estimate,
    estimate,
    image_weights,
    mean_of,
    shown,
    shown_difference,
)
from training.evaluate.committee.pools import Pool, TaskPools, spread
from training.evaluate.committee.raw_features import NoRawFeaturesError, expose_raw, raw_images
from training.evaluate.committee.sections import SHOTS, Run, read_as, shots_of, task_unit, with_fit
from training.evaluate.markdown import markdown_table
from training.evaluate.members import Member, Pictures
from training.evaluate.statistics import Booleans, class_weights
from training.evaluate.statistics import Floats as Doubles

VERSION = "1"
SEEDS = (0, 1)
SERVED = "softplus(t + k), hidden 128"
FORMS: dict[str, Form] = {
    SERVED: Form(),
    "1 + t": Form("linear"),
    "exp(t)": Form("exp"),
    "B softmax(t)": Form("softmax"),
    "1 / softplus(t + k)": Form("inverse"),
    "softplus(t + k), no hidden layer": Form(hidden=0),
}
"""Every form starts at the logit mean. All but the first differ from it in one thing."""

UNIT, RAW = "unit features", "raw features"
RAW_FORMS = {UNIT: Form(), RAW: Form(unit_features=False)}
RAW_FIT, RAW_TEST = 320, 160
"""Images per task whose raw features are computed: each must go through every tower once more."""
RAW_SEEDS = (0,)


@dataclass(frozen=True)
class TaskAblations:
    """Accuracy (balanced where the task is not) by form, and each form's less that of the first, image by image.

    `logit_mean` is where every form starts. In the comparison of features `images` were fitted on per seed.
    """

    source: str
    images: int
    logit_mean: Estimate
    accuracy: dict[str, Estimate]
    difference: dict[str, Estimate]


@dataclass(frozen=True)
class AblationReport:
    """`forms` on up to `SHOTS` images per class of every task; `features` on fewer images; `no_features` says why
    there are none."""

    forms: tuple[TaskAblations, ...]
    features: tuple[TaskAblations, ...]
    no_features: str | None


def measure_ablations(pools: Sequence[TaskPools], members: Sequence[Member], run: Run) -> AblationReport:
    """Every form on every task that has shots; `members` are the zoo's backbones, for their raw features."""
    tasks = with_fit(pools)
    forms = [task_unit("forms", VERSION, task, (SHOTS, SEEDS, FORMS, PAPER), partial(forms_of, task)) for task in tasks]
    reason = missing_raw(members)
    # Members go to other processes as they came from the repository: an opened tower cannot be sent.
    fresh = tuple(replace(member) for member in members)
    parameters = (RAW_SEEDS, RAW_FORMS, PAPER, RAW_FIT, RAW_TEST, [member.backbone.image.digest for member in members])
    features = [task_unit("features", VERSION, task, parameters, partial(features_of, task, fresh)) for task in tasks]
    return AblationReport(
        forms=read_as(TaskAblations, run(forms)),
        features=() if reason else read_as(TaskAblations, run(features)),
        no_features=reason,
    )


def missing_raw(members: Sequence[Member]) -> str | None:
    """Why raw features are not to be had of these towers; null where they are."""
    for member in members:
        try:
            expose_raw(onnx.load(str(member.backbone.image.model_path)))
        except NoRawFeaturesError as error:
            return f"{member.name}: {error}"
    return None


def forms_of(task: TaskPools) -> TaskAblations:
    """Every form on one task, fitted `PAPER`'s way on the same shots."""
    weights = image_weights(task)
    right: dict[str, Booleans] = {}
    images = 0
    for name, form in FORMS.items():
        each = []
        for seed in SEEDS:
            examples = shots_of(task, SHOTS, seed)
            images = len(examples)
            each.append(
                _right(fit_form(examples, form, seed, schedule=PAPER), task.backbones, task.test.embeddings, task.test)
            )
        right[name] = np.stack(each)
    return _compared(task.source, images, task.test, right, SERVED, weights)


def features_of(task: TaskPools, members: Sequence[Member]) -> TaskAblations:
    """Unit against raw features on one task, on `RAW_FIT` and `RAW_TEST` of its images."""
    shots = max(1, min(SHOTS, RAW_FIT // len(task.classes)))
    test = task.test.take(spread(task.test.truth, RAW_TEST))
    weights = np.full(len(test), 1 / len(test)) if task.balanced else class_weights(test.truth)
    raw_test = _raw(members, test)
    right: dict[str, list[Booleans]] = {name: [] for name in RAW_FORMS}
    images = 0
    for seed in RAW_SEEDS:
        positions = draw(task.source, task.fit.truth, len(task.classes), shots, seed).positions
        chosen = task.fit.take(positions[spread(task.fit.truth[positions], RAW_FIT)])
        examples, images = _raw_examples(task, chosen, members), len(chosen)
        for name, form in RAW_FORMS.items():
            right[name].append(_right(fit_form(examples, form, seed, schedule=PAPER), task.backbones, raw_test, test))
    stacked = {name: np.stack(found) for name, found in right.items()}
    return _compared(task.source, images, test, stacked, UNIT, weights)


def _raw(members: Sequence[Member], pool: Pool) -> tuple[Floats, ...]:
    pictures = Pictures(pool.rows)
    return tuple(raw_images(member, pictures) for member in members)


def _raw_examples(task: TaskPools, pool: Pool, members: Sequence[Member]) -> Examples:
    digests = [row.digest for row in pool.rows]
    return make_examples(task.backbones, _raw(members, pool), pool.logits.transpose(1, 0, 2), pool.truth, digests)


def _right(fit: FormFit, names: Sequence[str], embeddings: Sequence[Floats], test: Pool) -> Booleans:
    weights = fit.weigh(names, embeddings)
    return np.asarray(committee_logits(weights, test.logits.transpose(1, 0, 2)).argmax(axis=1) == test.truth)


def _compared(
    source: str, images: int, test: Pool, right: dict[str, Booleans], first: str, weights: Doubles
) -> TaskAblations:
    plain = np.asarray(test.logits.mean(axis=1).argmax(axis=1) == test.truth)
    return TaskAblations(
        source=source,
        images=images,
        logit_mean=estimate(plain[None], weights),
        accuracy={name: estimate(found, weights) for name, found in right.items()},
        difference={
            name: estimate(found.astype(np.float64) - right[first], weights)
            for name, found in right.items()
            if name != first
        },
    )


def ablations_table(report: AblationReport) -> str:
    """Means over the tasks; a second table for the features' length."""
    shots = (
        f"The paper's form and schedule on up to {SHOTS} images per class, {len(SEEDS)} seeds, mean over "
        f"{len(report.forms)} tasks. `t` is the network's output, `k` makes a weight of 1 of `t = 0`."
    )
    parts = [shots, _table(report.forms, SERVED)]
    if report.no_features:
        return "\n\n".join([*parts, f"Raw features could not be had. {report.no_features}"])
    features = (
        f"The same with features at the length that the towers give them, on {RAW_FIT} images to fit and {RAW_TEST} to "
        f"test of each task at most, {len(RAW_SEEDS)} seed{'s' if len(RAW_SEEDS) > 1 else ''}."
    )
    return "\n\n".join([*parts, features, _table(report.features, UNIT)])


def _table(tasks: Sequence[TaskAblations], first: str) -> str:
    if not tasks:
        return "No task has anything to fit on."
    header = ["form", "accuracy", f"less {first}", "better on", "worse on"]
    start = mean_of([task.logit_mean for task in tasks])
    rows = [["logit mean, where all start", shown(start), "", "", ""]]
    for name in tasks[0].accuracy:
        accuracy = mean_of([task.accuracy[name] for task in tasks])
        rows.append([name, shown(accuracy), "", "", ""])
        if name != first:
            differences = [task.difference[name] for task in tasks]
            rows[-1][2:] = [shown_difference(mean_of(differences)), *_counts(differences)]
    return markdown_table(header, rows)


def _counts(differences: Sequence[Estimate]) -> list[str]:
    """On how many tasks the interval of a difference is above, and below, 0."""
    return [str(sum(each.low > 0 for each in differences)), str(sum(each.high < 0 for each in differences))]
