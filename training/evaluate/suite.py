"""The zoo's accuracy: every backbone and the plain committees, on every test split."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from service.pipeline.logits import Floats, committee_probabilities
from service.repository import Backbone, Zoo, load_zoo
from training.data.parquet import available_sources, read_rows
from training.data.samples import decode_rows
from training.data.splits import Split
from training.evaluate.embedder import Embedder, open_backbone
from training.evaluate.statistics import Score, bootstrap, hits_at_k
from training.evaluate.tasks import RetrievalSet, Task, labelled_tasks, retrieval_sets
from training.evaluate.zero_shot import predictions, task_logits

RECALL_AT = 10
Member = tuple[Backbone, Embedder]


@dataclass(frozen=True)
class TaskResult:
    """Scores by backbone and committee on one task."""

    task: str
    metric: str
    novelty: str
    items: int
    classes: int | None
    scores: dict[str, Score]


def classification_result(members: Sequence[Member], task: Task) -> TaskResult:
    """Top-1 accuracy (balanced where the task is not) of each backbone, of `mean` and of `mean_logit`."""
    logits = [
        task_logits(
            embedder, backbone.preprocessing, task, logit_scale=backbone.logit_scale, temperature=backbone.temperature
        )
        for backbone, embedder in members
    ]
    outputs: dict[str, Floats] = {backbone.name: z for (backbone, _), z in zip(members, logits, strict=True)}
    stacked = np.stack(logits)
    outputs["mean"] = committee_probabilities("mean", stacked)
    outputs["mean_logit"] = committee_probabilities("mean_logit", stacked)
    truth = None if task.balanced else task.truth
    return TaskResult(
        task=task.source,
        metric="top-1 accuracy" if task.balanced else "top-1 balanced accuracy",
        novelty=task.novelty,
        items=len(task.rows),
        classes=len(task.classes),
        scores={name: bootstrap(predictions(output) == task.truth, truth) for name, output in outputs.items()},
    )


def retrieval_result(members: Sequence[Member], pairs: RetrievalSet) -> TaskResult:
    """Text-to-image recall at 10 of each backbone and of the summed logits (what a committee's gallery computes)."""
    outputs: dict[str, Floats] = {}
    for backbone, embedder in members:
        pictures = embedder.images(decode_rows(pairs.rows, backbone.preprocessing).images)
        outputs[backbone.name] = (
            embedder.texts(pairs.captions) @ pictures.T * np.float32(backbone.logit_scale / backbone.temperature)
        )
    outputs["mean_logit"] = np.mean(list(outputs.values()), axis=0, dtype=np.float32)
    return TaskResult(
        task=pairs.source,
        metric=f"text to image R@{RECALL_AT}",
        novelty=pairs.novelty,
        items=len(pairs.rows),
        classes=None,
        scores={name: _recall(scores, pairs) for name, scores in outputs.items()},
    )


def _recall(scores: Floats, pairs: RetrievalSet) -> Score:
    hits = hits_at_k(scores, pairs.owner, RECALL_AT)
    # The captions of one picture are not independent: pictures are resampled, each with its share of hits.
    per_picture = np.bincount(pairs.owner, weights=hits) / np.bincount(pairs.owner)
    return bootstrap(per_picture)


def evaluate(data_dir: Path, repository: Path) -> tuple[Zoo, list[TaskResult]]:
    """Every task in `data_dir` by every backbone in `repository`. Raises `DataError` and `RepositoryError`."""
    zoo = load_zoo(repository)
    members = [(backbone, open_backbone(backbone)) for backbone in zoo.backbones]
    rows = list(read_rows(data_dir, available_sources(data_dir)))
    results = [classification_result(members, task) for task in labelled_tasks(rows, Split.TEST)]
    results += [retrieval_result(members, pairs) for pairs in retrieval_sets(rows, Split.TEST)]
    return zoo, results


def as_json(zoo: Zoo, results: Sequence[TaskResult]) -> dict[str, Any]:
    """Results with what they were taken on and with."""
    return {
        "zoo": {
            backbone.name: {
                "gflops": backbone.gflops,
                "temperature": backbone.temperature,
                "image_sha256": backbone.image.config.sha256,
                "text_sha256": backbone.text.config.sha256,
            }
            for backbone in zoo.backbones
        },
        "machine": f"{platform.machine()}, {platform.system()}, onnxruntime {ort.__version__}, CPU",
        "interval": "95% bootstrap",
        "results": [asdict(result) for result in results],
    }


def as_table(results: Sequence[TaskResult]) -> str:
    """A Markdown table, one row per task, percentages with their intervals."""
    names = list(dict.fromkeys(name for result in results for name in result.scores))
    lines = ["| task | measure | n | " + " | ".join(names) + " |", "| --- " * (len(names) + 3) + "|"]
    for result in results:
        classes = "" if result.classes is None else f", {result.classes} classes"
        cells = [_cell(result.scores.get(name)) for name in names]
        lines.append(
            f"| {result.task} ({result.novelty}) | {result.metric}{classes} | {result.items} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def _cell(score: Score | None) -> str:
    if score is None:
        return ""
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"
