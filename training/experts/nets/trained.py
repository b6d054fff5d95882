"""The experts that come with the project: their weights, and how good they are on scenes that they did not see."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from training.experts.nets.tasks import Task

TRAINED: Final = Path(__file__).with_name("trained")
"""A folder for each task, with what the commands of `docs/experts.md` left of its training."""
ACCURACY: Final = "accuracy.json"


def trained_folder(task: Task) -> Path:
    """Where the weights and the accuracy of an expert lie."""
    return TRAINED / str(task)


def read_accuracy(task: Task) -> dict[str, Any]:
    """As `Accuracy.to_dict` gave it."""
    table: dict[str, Any] = json.loads((trained_folder(task) / ACCURACY).read_text("utf-8"))
    return table


def accuracy_table() -> str:
    """What each expert reaches beside an answer that knows no picture, as Markdown."""
    lines = [
        "| expert | measure | all | before photographs | on the ground | in a room | without looking |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for task in Task:
        table = read_accuracy(task)
        for measure, value in table["expert"].items():
            backdrops = " | ".join(
                _of(table["by_backdrop"], each, measure) for each in ("photograph", "ground", "room")
            )
            blind = f"{table['baseline'][measure]:.3g}"
            lines.append(f"| `{table['expert_name']}` | {measure} | {value:.3g} | {backdrops} | {blind} |")
    return "\n".join(lines)


def _of(groups: Mapping[str, Mapping[str, float]], backdrop: str, measure: str) -> str:
    return f"{groups[backdrop][measure]:.3g}" if backdrop in groups else ""
