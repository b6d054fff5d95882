"""`python -m training.experts train`: one expert from scenes to weights and their accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from training.experts.errors import ExpertError
from training.experts.nets.accuracy import measure
from training.experts.nets.config import NetConfig, NetSchedule
from training.experts.nets.data import DenseSet, load_dense_set
from training.experts.nets.experts import load_net_expert
from training.experts.nets.fit import NetRun
from training.experts.nets.tasks import ClassBalance, Task
from training.experts.nets.trained import ACCURACY


def make_config(dense: DenseSet, source: str, schedule: NetSchedule, seed: int) -> NetConfig:
    """The training of the set's task. Raises `ConfigError` for pictures of a size that no expert takes."""
    by_class = dense.task is Task.CLASSES
    return NetConfig(
        task=dense.task,
        source=source,
        side=dense.images.shape[1],
        classes=dense.identity.classes if by_class else (),
        class_weights=ClassBalance.of_counts(dense.class_counts()).weights if by_class else (),
        seed=seed,
        schedule=schedule,
    )


def train_expert(
    task: str,
    data: Sequence[Path],
    source: str,
    folder: Path,
    *,
    held_out: str | None,
    schedule: NetSchedule,
    seed: int = 0,
    device: torch.device,
    show: Callable[[str], None] = lambda _: None,
) -> str:
    """Train, and measure on the source `held_out`; what was found, in a line.

    Raises `ExpertError` for an unknown task and for sources without exact labels, and what `NetRun.run` raises.
    """
    if task not in list(Task):
        raise ExpertError(f'no task is called "{task}"; there are {", ".join(Task)}.')
    dense = load_dense_set(data, source, Task(task))
    unseen = load_dense_set(data, held_out, Task(task)) if held_out else None
    run = NetRun(make_config(dense, source, schedule, seed), folder, device, show)
    run.run(dense)
    if held_out is None or unseen is None:
        return f"{run.step} steps on {len(dense)} pictures"
    expert = load_net_expert(f"scene-{task}", folder, device)
    accuracy = measure(expert, unseen, dense, data, held_out)
    text = json.dumps(accuracy.to_dict(), indent=2, sort_keys=True)
    (folder / ACCURACY).write_text(text + "\n", encoding="utf-8")
    return accuracy.sentence()
