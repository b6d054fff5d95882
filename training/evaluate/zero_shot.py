"""Zero-shot logits of one backbone on tasks, as the gateway computes them."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from service.model_config import Preprocessing
from service.pipeline.labels import DEFAULT_TEMPLATES, LabelSet, class_embeddings
from service.pipeline.logits import Floats, backbone_logits, cosines
from training.data.samples import decode_rows
from training.evaluate.embedder import Embedder
from training.evaluate.prompts import templates_of
from training.evaluate.tasks import Task
from training.evaluate.temperature import fit_temperature

EncodeTexts = Callable[[Sequence[str]], Floats]
"""Texts to unit rows float32[n, d]."""


def class_matrix(encode: EncodeTexts, classes: Sequence[str], templates: Sequence[str] = DEFAULT_TEMPLATES) -> Floats:
    """Unit rows float32[c, d], one per class, from the gateway's own prompts and averaging."""
    label_set = LabelSet(tuple(classes), tuple((name,) for name in classes), tuple(templates))
    prompts, class_of_prompt = label_set.prompts()
    return class_embeddings(encode(prompts), class_of_prompt, len(classes))


def task_logits(
    embedder: Embedder, preprocessing: Preprocessing, task: Task, *, logit_scale: float, temperature: float
) -> Floats:
    """float32[n, c], the backbone's temperature-scaled logits on a task."""
    pictures = decode_rows(task.rows, preprocessing).images
    cosine = cosines(embedder.images(pictures), class_matrix(embedder.texts, task.classes, templates_of(task.source)))
    return backbone_logits(cosine, logit_scale, temperature)


def temperature_on(
    embedder: Embedder, preprocessing: Preprocessing, tasks: Sequence[Task], *, logit_scale: float
) -> float:
    """The backbone's temperature on `tasks`, of which there is at least one."""
    return fit_temperature(
        [
            (task_logits(embedder, preprocessing, task, logit_scale=logit_scale, temperature=1.0), task.truth)
            for task in tasks
        ]
    )


def predictions(probabilities: Floats) -> npt.NDArray[np.int64]:
    """int64[n], the likeliest class of each row."""
    return np.asarray(probabilities.argmax(axis=1))


def majority_vote(probabilities: Floats) -> npt.NDArray[np.int64]:
    """int64[n], the class that most members find likeliest; equal counts are settled by the members' mean probability.

    probabilities: float32[b, n, c].
    """
    votes = np.zeros(probabilities.shape[1:], dtype=np.float64)
    for member in probabilities:
        votes[np.arange(len(member)), predictions(member)] += 1
    # A mean probability is at most 1, so half of it can settle a tie and never outweigh a vote.
    return predictions(np.asarray(votes + probabilities.mean(axis=0) / 2))
