"""The generic controller: fitted over many label sets, judged on sources that it never saw.

It reads opinions alone (`service.pipeline.controller.opinions`) and shares one small network among all backbones. A
network that knew the backbones apart, or their image embeddings, learnt from a handful of sources *whom* to trust, and
lost five points on a source where another backbone was the specialist; this one can only learn how trust shows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from service.blas import one_blas_thread
from service.pipeline.controller.controller import Generic, static_controller, weigh
from service.pipeline.controller.fit import Schedule, descend, random_subsets, start
from service.pipeline.controller.gradient import Batch, Network, weighted_mean
from service.pipeline.controller.opinions import OPINIONS, Opinions, opinions_of
from service.pipeline.controller.scores import score
from service.pipeline.logits import Floats, mean_probability
from training.evaluate.statistics import class_weights

HIDDEN = 64
SCHEDULE = Schedule(learning_rate=4e-3, steps=3000, batch_size=64, strength=3e-3, cosine=True)
SUBSETS = 8
FEWEST_CLASSES = 5
FEWEST_SOURCES = 3

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """One source's images as the zoo sees them. Per backbone, in one order everywhere: `embeddings` float32[n, d] and
    `class_embeddings` float32[c, d], unit rows, and `scales`, logit scale over temperature. `truth`: int64[n]."""

    name: str
    embeddings: tuple[Floats, ...]
    class_embeddings: tuple[Floats, ...]
    scales: tuple[float, ...]
    truth: Integers

    def logits(self, rows: Integers, classes: tuple[Floats, ...]) -> Floats:
        """float32[rows, b, c] of some images over any class embeddings."""
        parts = zip(self.embeddings, classes, self.scales, strict=True)
        return np.stack([images[rows] @ texts.T * np.float32(scale) for images, texts, scale in parts], axis=1)


@dataclass(frozen=True)
class LabelSetTask:
    """Images of one label set: `logits` float32[n, b, c], `truth` int64[n], and what their backbones think."""

    logits: Floats
    truth: Integers
    opinions: Opinions


@dataclass(frozen=True)
class Judged:
    """A source that the controller was fitted without: balanced accuracy, and loss in nats at the best temperature."""

    source: str
    images: int
    accuracy: float
    mean_accuracy: float
    loss: float
    mean_loss: float


@dataclass(frozen=True)
class GenericReport:
    """`judged` says how fits without each source did on it. It ships only if it beats the probability mean there."""

    judged: tuple[Judged, ...]

    @property
    def accuracy_gain(self) -> float:
        return float(np.mean([each.accuracy - each.mean_accuracy for each in self.judged]))

    @property
    def loss_gain(self) -> float:
        """Positive where the generic controller predicts better."""
        return float(np.mean([each.mean_loss - each.loss for each in self.judged]))

    @property
    def ships(self) -> bool:
        return self.accuracy_gain > 0 and self.loss_gain > 0


def judge_generic(sources: Sequence[Source], seed: int, progress: Callable[[str], None] | None = None) -> GenericReport:
    """Leave one source out at a time. Raises `ValueError` for fewer than three: two must be left to learn from."""
    if len(sources) < FEWEST_SOURCES:
        raise ValueError("a generic controller is judged by leaving sources out: at least three are needed")
    judged = []
    for left_out in sources:
        if progress is not None:
            progress(f"without {left_out.name}")
        generic = fit_generic([each for each in sources if each is not left_out], seed)
        judged.append(_judge(generic, left_out))
    return GenericReport(tuple(judged))


@one_blas_thread()
def fit_generic(sources: Sequence[Source], seed: int) -> Generic:
    """Fitted on label sets made of `sources`: each whole, parts of each, and pairs of them together."""
    generator = np.random.default_rng(seed)
    tasks = list(label_set_tasks(sources, generator))
    network = Network(OPINIONS, 1, HIDDEN)
    prior = start(network, generator, scale=1.0)
    theta = descend(network, prior, prior, SCHEDULE, _feed(tasks, generator))
    w1, c1, w2, c2 = network.views(theta)
    return Generic(w1, c1, w2, c2)


def label_set_tasks(sources: Sequence[Source], generator: np.random.Generator) -> Iterator[LabelSetTask]:
    """Every source, `SUBSETS` random parts of its classes (small ones as likely as large ones), and all pairs."""
    for source in sources:
        classes = len(source.class_embeddings[0])
        yield _task(source, np.arange(classes))
        for _ in range(SUBSETS if classes > FEWEST_CLASSES else 0):
            size = round(np.exp(generator.uniform(np.log(FEWEST_CLASSES), np.log(classes))))
            yield _task(source, np.sort(generator.permutation(classes)[:size]))
    for one, other in combinations(sources, 2):
        yield _pair(one, other)


def _task(source: Source, classes: Integers) -> LabelSetTask:
    rows = np.flatnonzero(np.isin(source.truth, classes))
    logits = source.logits(rows, tuple(texts[classes] for texts in source.class_embeddings))
    return _with_opinions(logits, np.searchsorted(classes, source.truth[rows]))


def _pair(one: Source, other: Source) -> LabelSetTask:
    """Two sources as one label set. Of the larger as many images are taken, evenly, as the smaller has."""
    texts = tuple(np.concatenate(both) for both in zip(one.class_embeddings, other.class_embeddings, strict=True))
    count = min(len(one.truth), len(other.truth))
    rows = [np.linspace(0, len(each.truth) - 1, count).astype(np.int64) for each in (one, other)]
    logits = np.concatenate([each.logits(picked, texts) for each, picked in zip((one, other), rows, strict=True)])
    offset = len(one.class_embeddings[0])
    return _with_opinions(logits, np.concatenate([one.truth[rows[0]], other.truth[rows[1]] + offset]))


def _with_opinions(logits: Floats, truth: Integers) -> LabelSetTask:
    return LabelSetTask(logits, truth, opinions_of(logits.transpose(1, 0, 2)))


def _feed(tasks: Sequence[LabelSetTask], generator: np.random.Generator) -> Iterator[Batch]:
    """Every batch is of one label set, and every label set as likely as any other."""
    usable = [task for task in tasks if len(task.truth)]
    for _ in range(SCHEDULE.steps):
        task = usable[generator.integers(len(usable))]
        rows = generator.integers(0, len(task.truth), SCHEDULE.batch_size)
        present = random_subsets(generator, len(rows), task.logits.shape[1])
        inputs = task.opinions.take(rows).of(present).reshape(-1, OPINIONS)
        yield Batch(inputs, task.logits[rows], task.truth[rows], present)


def _judge(generic: Generic, source: Source) -> Judged:
    task = _task(source, np.arange(len(source.class_embeddings[0])))
    names = [f"{place}" for place in range(len(source.embeddings))]
    controller = static_controller(names, [rows.shape[1] for rows in source.embeddings], generic=generic)
    logits = task.logits.transpose(1, 0, 2)
    weights = weigh(controller, names, source.embeddings, logits)
    ours = score(weighted_mean(weights.T / np.float32(len(names)), task.logits), task.truth)
    means = score(np.log(np.maximum(mean_probability(logits), np.finfo(np.float32).tiny)), task.truth)
    balanced = class_weights(task.truth)
    accuracy, mean_accuracy = float(balanced @ ours.correct), float(balanced @ means.correct)
    return Judged(source.name, len(task.truth), accuracy, mean_accuracy, ours.loss, means.loss)
