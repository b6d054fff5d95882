"""Pictures made worse: who still sees them, and which backbone does the controller turn to?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from service.pipeline.committee import Voice
from service.pipeline.controller.fit import PAPER, fit_paper
from service.pipeline.logits import backbone_logits, cosines
from training.evaluate.committee.corruptions import (
    BLUR_PX,
    CANVAS_PX,
    CLEAN,
    CONTRAST,
    JPEG_QUALITY,
    NOISE,
    ROTATION_DEG,
    VARIANTS,
    corrupted,
)
from training.evaluate.committee.estimates import (
    Estimate,
    estimate,
    mean_of,
    shown,
    shown_difference,
)
from training.evaluate.committee.pools import Pool, TaskPools, spread
from training.evaluate.committee.sections import SHOTS, Committee, Run, read_as, shots_of, task_unit, with_fit
from training.evaluate.markdown import markdown_table, points
from training.evaluate.members import Member, Pictures
from training.evaluate.statistics import Floats, class_weights

VERSION = "1"
SEED = 0
PICTURES, FEWEST_PICTURES = 512, 24
"""Clean pictures in all, shared among the tasks, and the fewest of one task: each goes through every tower
`len(VARIANTS)` times."""

MEAN, LOGITS, NLC = "probability mean", "logit mean", "NLC, paper's form"
VOICES = (MEAN, LOGITS, NLC)


@dataclass(frozen=True)
class Variant:
    """One task's pictures after one corruption. `accuracy` (balanced where the task is not) by backbone and voice;
    `change`: the same less that of the clean pictures, image by image; `weights`: by backbone the mean share of the
    controller's weights; `leads`: by backbone the share of images on which its weight is the largest."""

    corruption: str
    strength: int
    accuracy: dict[str, Estimate]
    change: dict[str, Estimate]
    weights: dict[str, float]
    leads: dict[str, float]


@dataclass(frozen=True)
class TaskRobustness:
    """The variants in the order of `VARIANTS`."""

    source: str
    pictures: int
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class RobustnessReport:
    backbones: tuple[str, ...]
    tasks: tuple[TaskRobustness, ...]

    def of(self, corruption: str, strength: int) -> tuple[Variant, ...]:
        """One variant of every task; strength 0 is the clean one, whatever the corruption."""
        place = VARIANTS.index((CLEAN if not strength else corruption, strength))
        return tuple(task.variants[place] for task in self.tasks)

    def accuracy(self, corruption: str, strength: int, name: str) -> Estimate:
        """Mean over the tasks, of a backbone or a voice."""
        return mean_of([each.accuracy[name] for each in self.of(corruption, strength)])

    def change(self, corruption: str, strength: int, name: str) -> Estimate:
        """The same less that of clean pictures."""
        return mean_of([each.change[name] for each in self.of(corruption, strength)])

    def weight(self, corruption: str, strength: int, name: str) -> float:
        """A backbone's share of the weights."""
        return float(np.mean([each.weights[name] for each in self.of(corruption, strength)]))

    def leads(self, corruption: str, strength: int, name: str) -> float:
        """On which share of the images a backbone has the largest weight."""
        return float(np.mean([each.leads[name] for each in self.of(corruption, strength)]))


def measure_robustness(pools: Sequence[TaskPools], members: Sequence[Member], run: Run) -> RobustnessReport:
    """Every variant of some test pictures of every task that has shots; `members` are the zoo's backbones."""
    tasks = with_fit(pools)
    most = max(FEWEST_PICTURES, PICTURES // max(1, len(tasks)))
    # Members go to other processes as they came from the repository: an opened tower cannot be sent.
    fresh = tuple(replace(member) for member in members)
    strengths = (CANVAS_PX, BLUR_PX, NOISE, JPEG_QUALITY, ROTATION_DEG, CONTRAST)
    parameters = (SHOTS, SEED, PAPER, most, strengths, [member.backbone.image.digest for member in members])
    units = [task_unit("robustness", VERSION, task, parameters, partial(robust, task, fresh, most)) for task in tasks]
    return RobustnessReport(pools[0].backbones, read_as(TaskRobustness, run(units)))


def robust(task: TaskPools, members: Sequence[Member], most: int) -> TaskRobustness:
    """One task, on `most` of its test pictures; the controller is fitted on clean shots."""
    clean = task.test.take(spread(task.test.truth, most))
    weights = np.full(len(clean), 1 / len(clean)) if task.balanced else class_weights(clean.truth)
    voices: dict[str, Voice] = {MEAN: "mean", LOGITS: "mean_logit", NLC: fit_paper(shots_of(task, SHOTS, SEED), SEED)}
    measured = partial(_measure, task, voices, weights)
    return TaskRobustness(task.source, len(clean), _variants(task, members, clean, measured))


Right = dict[str, Floats]
Measure = Callable[[Pool, str, int, Right | None], tuple[Variant, Right]]


def _variants(task: TaskPools, members: Sequence[Member], clean: Pool, measured: Measure) -> tuple[Variant, ...]:
    found: list[Variant] = []
    first: Right | None = None
    for name, strength in VARIANTS:
        variant, right = measured(seen(task, members, clean, name, strength), name, strength, first)
        first = right if first is None else first
        found.append(variant)
    return tuple(found)


def seen(task: TaskPools, members: Sequence[Member], clean: Pool, name: str, strength: int) -> Pool:
    """A pool's pictures after a corruption, embedded anew."""
    rows = tuple(corrupted(row, name, strength) for row in clean.rows)
    pictures = Pictures(rows)
    embeddings = tuple(member.images(pictures) for member in members)
    logits = [
        backbone_logits(cosines(images, texts), member.backbone.logit_scale, member.backbone.temperature)
        for images, texts, member in zip(embeddings, task.class_embeddings, members, strict=True)
    ]
    return Pool(embeddings, np.stack(logits, axis=1), clean.truth, rows)


def _measure(
    task: TaskPools,
    voices: dict[str, Voice],
    weights: Floats,
    pool: Pool,
    corruption: str,
    strength: int,
    clean: Right | None,
) -> tuple[Variant, Right]:
    everyone = range(len(task.backbones))
    committees = {name: Committee(task.backbones, voice, pool) for name, voice in voices.items()}
    right: Right = {
        name: (pool.logits[:, member].argmax(axis=1) == pool.truth).astype(np.float64)
        for member, name in enumerate(task.backbones)
    }
    right |= {name: each.right(everyone).astype(np.float64) for name, each in committees.items()}
    given = committees[NLC].ask(everyone).weights
    shares = (given / given.sum(axis=0)) @ weights
    leads = np.stack([given.argmax(axis=0) == member for member in everyone]) @ weights
    before = right if clean is None else clean
    variant = Variant(
        corruption=corruption,
        strength=strength,
        accuracy={name: estimate(found[None], weights) for name, found in right.items()},
        change={name: estimate((found - before[name])[None], weights) for name, found in right.items()},
        weights={name: float(shares[member]) for member, name in enumerate(task.backbones)},
        leads={name: float(leads[member]) for member, name in enumerate(task.backbones)},
    )
    return variant, right


def robustness_table(report: RobustnessReport) -> str:
    """Accuracy by corruption and strength; below it, whom the controller turns to."""
    if not report.tasks:
        return "No task has anything to fit on."
    pictures = sum(task.pictures for task in report.tasks)
    note = (
        f"{pictures:,} test pictures of {len(report.tasks)} tasks, brought to {CANVAS_PX} px along the shorter side; "
        f"mean over the tasks. The controller is the paper's form on up to {SHOTS} clean images per class. Blur: "
        f"{_list(BLUR_PX)} px; noise: {_list(NOISE)} of the range; JPEG: quality {_list(JPEG_QUALITY)}; rotation: "
        f"{_list(ROTATION_DEG)} degrees; contrast: {_list(CONTRAST)} of it are left."
    )
    names = [*report.backbones, *VOICES]
    header = ["corruption", *(f"`{name}`" for name in report.backbones), *VOICES, "NLC less clean"]
    rows = [
        [_title(corruption, strength)]
        + [shown(report.accuracy(corruption, strength, name)) for name in names]
        + [shown_difference(report.change(corruption, strength, NLC)) if strength else ""]
        for corruption, strength in VARIANTS
    ]
    return "\n\n".join([note, markdown_table(header, rows), _turns_to(report)])


def _turns_to(report: RobustnessReport) -> str:
    """Weights by corruption, with their change in points."""
    note = (
        "Whom the controller turns to: each backbone's share of the weights in percent, with its change from clean "
        "pictures in points; the last columns say who gains the most, and on how many images each has the largest "
        "weight."
    )
    header = ["corruption", *(f"`{name}`" for name in report.backbones), "turns to"]
    header += [f"`{name}` leads" for name in report.backbones]
    rows = []
    for corruption, strength in VARIANTS:
        shares = {name: report.weight(corruption, strength, name) for name in report.backbones}
        moved = {name: share - report.weight(CLEAN, 0, name) for name, share in shares.items()}
        gains = max(moved, key=lambda name: moved[name])
        cells = [f"{points(shares[name])} ({100 * moved[name]:+.1f})" for name in report.backbones]
        leads = [points(report.leads(corruption, strength, name)) for name in report.backbones]
        rows.append([_title(corruption, strength), *cells, f"`{gains}`" if strength else "", *leads])
    return f"{note}\n\n{markdown_table(header, rows)}"


def _title(corruption: str, strength: int) -> str:
    return f"{corruption} {strength}" if strength else corruption


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
