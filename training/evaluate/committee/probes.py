"""Weights over linear probes, in the paper's regime: 90 % of the labelled images fit the probes, 10 % the weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from service.pipeline.committee import Voice, combine
from service.pipeline.controller.examples import make_examples
from service.pipeline.controller.fit import PAPER, fit_paper
from service.pipeline.controller.ladder import climb
from service.pipeline.logits import Floats, softmax
from training.evaluate.baselines import best_backbone, fit_super_learner, mixture
from training.evaluate.committee.estimates import (
    Estimate,
    estimate,
    image_weights,
    mean_of,
    shown,
    shown_difference,
)
from training.evaluate.committee.linear_probe import STRENGTHS, fit_probe
from training.evaluate.committee.pools import Pool, TaskPools, spread
from training.evaluate.committee.sections import Run, read_as, task_unit
from training.evaluate.markdown import markdown_table
from training.evaluate.statistics import Booleans, Integers, generator
from training.evaluate.temperature import fit_temperature

VERSION = "1"
SEEDS = (0, 1)
PROBE_SHARE = 0.9
MOST_IMAGES = 2000
LEAST_PER_CLASS = 5.0
"""Labelled images of a class in the mean. With fewer a tenth of them says nothing about most classes."""

MEAN, LOGITS, SUPER, NLC, LADDER, ORACLE, ZERO_SHOT, CHOSEN = (
    "probability mean",
    "logit mean",
    "Super Learner",
    "NLC, paper's form",
    "ladder's pick",
    "oracle",
    "zero-shot probability mean",
    "best probe by the 10 %",
)
METHODS = (ZERO_SHOT, CHOSEN, MEAN, LOGITS, SUPER, NLC, LADDER, ORACLE)


@dataclass(frozen=True)
class TaskProbes:
    """One task. `images`: for the probes and for the weights; `probes`: by backbone, accuracy (balanced where the task
    is not); `methods`: by method; `gain`: each method's less that of the best probe by the 10 %, image by image."""

    source: str
    images: tuple[int, int]
    probes: dict[str, Estimate]
    methods: dict[str, Estimate]
    gain: dict[str, Estimate]

    @property
    def hindsight(self) -> Estimate:
        """The best probe by the scores that are shown."""
        return max(self.probes.values(), key=lambda each: each.value)


@dataclass(frozen=True)
class ProbeReport:
    """`left_out` names tasks with fewer than `LEAST_PER_CLASS` labelled images per class."""

    tasks: tuple[TaskProbes, ...]
    left_out: tuple[str, ...]


def measure_probes(pools: Sequence[TaskPools], run: Run) -> ProbeReport:
    """Every task with enough labelled images."""
    tasks = [task for task in pools if len(task.fit) >= LEAST_PER_CLASS * len(task.classes)]
    parameters = (SEEDS, PROBE_SHARE, MOST_IMAGES, STRENGTHS, PAPER)
    found = run([task_unit("probes", VERSION, task, parameters, partial(probes_of, task)) for task in tasks])
    names = {task.source for task in tasks}
    return ProbeReport(read_as(TaskProbes, found), tuple(task.source for task in pools if task.source not in names))


def probes_of(task: TaskPools) -> TaskProbes:
    """One task: `SEEDS` splits of its labelled images."""
    right: dict[str, list[Booleans]] = {}
    images = (0, 0)
    for seed in SEEDS:
        first, second = split(task, seed)
        images = (len(first), len(second))
        for name, found in _answers(task, first, second, seed).items():
            right.setdefault(name, []).append(found)
    weights = image_weights(task)
    stacked = {name: np.stack(found) for name, found in right.items()}
    chosen = stacked[CHOSEN].astype(np.float64)
    return TaskProbes(
        source=task.source,
        images=images,
        probes={name: estimate(stacked[_probe(name)], weights) for name in task.backbones},
        methods={name: estimate(stacked[name], weights) for name in METHODS},
        gain={name: estimate(stacked[name] - chosen, weights) for name in METHODS if name != CHOSEN},
    )


def split(task: TaskPools, seed: int) -> tuple[Pool, Pool]:
    """The labelled images in random order, `PROBE_SHARE` and the rest."""
    kept = spread(task.fit.truth, MOST_IMAGES)
    order = generator(f"probes of {task.source}, {seed}").permutation(kept)
    cut = round(PROBE_SHARE * len(order))
    return task.fit.take(order[:cut]), task.fit.take(order[cut:])


def _probe(backbone: str) -> str:
    return f"probe of {backbone}"


def _answers(task: TaskPools, first: Pool, second: Pool, seed: int) -> dict[str, Booleans]:
    """By method bool[test]: probes from `first`; temperatures, choice and weights from `second`."""
    probes = [fit_probe(features, first.truth, len(task.classes)) for features in first.embeddings]
    held = [probe.logits(features) for probe, features in zip(probes, second.embeddings, strict=True)]
    scales = [1 / fit_temperature([(logits, second.truth)]) for logits in held]
    tested = zip(probes, task.test.embeddings, scales, strict=True)
    logits = np.stack([probe.logits(features) * np.float32(scale) for probe, features, scale in tested])
    ours = np.stack([each * np.float32(scale) for each, scale in zip(held, scales, strict=True)])
    digests = [row.digest for row in second.rows]
    examples = make_examples(task.backbones, second.embeddings, ours, second.truth, digests)
    chosen = task.backbones.index(examples.backbones[best_backbone(examples)])
    shares = fit_super_learner(examples)[[examples.backbones.index(name) for name in task.backbones]]
    climbed = climb(examples, seed).controller
    answers = {
        ZERO_SHOT: softmax(task.test.logits).mean(axis=1),
        CHOSEN: logits[chosen],
        SUPER: mixture(shares, logits.transpose(1, 0, 2)),
        MEAN: _speak(task, "mean", logits),
        LOGITS: _speak(task, "mean_logit", logits),
        NLC: _speak(task, fit_paper(examples, seed), logits),
        LADDER: _speak(task, "mean" if climbed is None else climbed, logits),
    }
    truth = task.test.truth
    found = {name: _right(answer, truth) for name, answer in answers.items()}
    found |= {_probe(name): _right(own, truth) for name, own in zip(task.backbones, logits, strict=True)}
    return found | {ORACLE: np.any([found[_probe(name)] for name in task.backbones], axis=0)}


def _speak(task: TaskPools, voice: Voice, logits: Floats) -> Floats:
    return combine(voice, task.backbones, task.test.embeddings, logits).logits


def _right(answers: Floats, truth: Integers) -> Booleans:
    return np.asarray(answers.argmax(axis=1) == truth)


def probes_table(report: ProbeReport) -> str:
    """Every task, and the mean over them."""
    note = (
        f"Logistic regression on each backbone's unit embeddings, fitted on {PROBE_SHARE:.0%} of a task's fit images "
        f"(at most {MOST_IMAGES:,} in all); their temperatures, the choice of a probe and all weights on the rest. "
        f"{len(SEEDS)} random splits. The probe chosen in hindsight, and the oracle, use the test labels."
    )
    if report.left_out:
        note += f" Left out, with under {LEAST_PER_CLASS:g} images per class: {', '.join(report.left_out)}."
    if not report.tasks:
        return f"{note}\n\nNo task has enough labelled images."
    header = ["task", "images: probes, weights", "best probe in hindsight", *METHODS]
    rows = [
        [task.source, f"{task.images[0]:,}, {task.images[1]:,}", shown(task.hindsight)]
        + [shown(task.methods[name]) for name in METHODS]
        for task in report.tasks
    ]
    means = [mean_of([task.methods[name] for task in report.tasks]) for name in METHODS]
    rows.append(["**mean**", "", shown(mean_of([task.hindsight for task in report.tasks])), *map(shown, means)])
    rows.append([f"less {CHOSEN}", "", ""])
    rows[-1] += [shown_difference(gain(report, name)) if name != CHOSEN else "" for name in METHODS]
    return f"{note}\n\n{markdown_table(header, rows)}"


def gain(report: ProbeReport, name: str) -> Estimate:
    """A method's mean over the tasks less that of the best probe by the 10 %."""
    return mean_of([task.gain[name] for task in report.tasks])
