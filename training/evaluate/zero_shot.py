"""Zero-shot logits of one backbone on tasks, as the gateway computes them."""

from collections.abc import Sequence

import numpy as np

from service.model_config import Preprocessing
from service.pipeline.labels import DEFAULT_TEMPLATES, LabelSet, class_embeddings
from service.pipeline.logits import Floats, backbone_logits, cosines
from training.data.samples import decode_rows
from training.evaluate.embedder import Embedder
from training.evaluate.tasks import Task
from training.evaluate.temperature import fit_temperature


def class_matrix(embedder: Embedder, classes: Sequence[str], templates: Sequence[str] = DEFAULT_TEMPLATES) -> Floats:
    """Unit rows float32[c, d], one per class, from the gateway's default prompts."""
    label_set = LabelSet(tuple(classes), tuple((name,) for name in classes), tuple(templates))
    prompts, class_of_prompt = label_set.prompts()
    return class_embeddings(embedder.texts(prompts), class_of_prompt, len(classes))


def task_logits(
    embedder: Embedder, preprocessing: Preprocessing, task: Task, *, logit_scale: float, temperature: float
) -> Floats:
    """float32[n, c], the backbone's temperature-scaled logits on a task."""
    pictures = decode_rows(task.rows, preprocessing).images
    cosine = cosines(embedder.images(pictures), class_matrix(embedder, task.classes))
    return backbone_logits(cosine, logit_scale, temperature)


def temperature_on(
    embedder: Embedder, preprocessing: Preprocessing, tasks: Sequence[Task], *, logit_scale: float
) -> float:
    """The backbone's temperature on the seen tasks among `tasks` (of the `fit` split).

    Unseen sources are left out: a zoo that had been tuned on them could not be tested on them.
    """
    fitted = [task for task in tasks if task.novelty == "seen classes"]
    return fit_temperature(
        [
            (task_logits(embedder, preprocessing, task, logit_scale=logit_scale, temperature=1.0), task.truth)
            for task in fitted
        ]
    )


def predictions(probabilities: Floats) -> np.ndarray:
    """int64[n], the likeliest class of each row."""
    return np.asarray(probabilities.argmax(axis=1))
