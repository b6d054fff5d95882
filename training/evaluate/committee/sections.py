"""What the sections of the suite share: units for tasks, shots, and who speaks for a committee."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import TypeAdapter

from service.pipeline.committee import Combined, Voice, combine
from service.pipeline.controller.examples import Examples
from service.pipeline.logits import Floats
from training.evaluate.committee.draws import draw
from training.evaluate.committee.estimates import image_weights
from training.evaluate.committee.pools import Pool, TaskPools
from training.evaluate.committee.units import Unit
from training.evaluate.statistics import Booleans

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Run = Callable[[Sequence[Unit]], list[Any]]
"""Computes units, or finds their results: JSON values in the units' order."""

SHOTS = 16
"""Labelled images per class of what is fitted for a section, or all that a class has."""

Found = TypeVar("Found")


def task_unit(
    section: str, version: str, task: TaskPools, parameters: tuple[object, ...], work: Callable[[], "DataclassInstance"]
) -> Unit:
    """`work`, which can be sent to another process, as a unit that depends on the task and on `parameters`."""
    key = (section, version, task.digest, repr(parameters))
    return Unit(f"{section}-{task.source}", key, partial(_plain, work))


def _plain(work: Callable[[], "DataclassInstance"]) -> dict[str, Any]:
    return asdict(work())


def read_as(kind: type[Found], values: Sequence[Any]) -> tuple[Found, ...]:
    """What `task_unit` gave as JSON, as the dataclass that it was."""
    adapter = TypeAdapter(kind)
    return tuple(adapter.validate_python(value) for value in values)


def in_this_process(units: Sequence[Unit]) -> list[Any]:
    """A `Run` that keeps nothing."""
    return [json.loads(json.dumps(unit.work())) for unit in units]


def shots_of(task: TaskPools, shots: int, seed: int) -> Examples:
    """Up to `shots` labelled images of every class out of the `fit` pool. Raises `InvalidExamplesError` for none."""
    positions = draw(task.source, task.fit.truth, len(task.classes), shots, seed).positions
    return task.fit.take(positions).examples(task.backbones)


def with_fit(pools: Sequence[TaskPools]) -> list[TaskPools]:
    """The tasks that have anything to fit on."""
    return [task for task in pools if len(task.fit)]


def best_fixed(pools: Sequence[TaskPools]) -> int:
    """Position of the backbone of highest mean (balanced) test accuracy over the tasks; of equals the cheapest."""
    rows = [image_weights(task) @ (task.test.logits.argmax(axis=2) == task.test.truth[:, None]) for task in pools]
    return int(np.mean(rows, axis=0).argmax())


@dataclass(eq=False)
class Committee:
    """The zoo on one pool, under one voice. What a set of its members says is worked out once."""

    names: tuple[str, ...]
    voice: Voice
    pool: Pool
    _known: dict[tuple[int, ...], Floats] = field(default_factory=dict)

    def ask(self, members: Sequence[int]) -> Combined:
        """Weights float32[b, n] and logits float32[n, c] of some members, by the gateway's own function."""
        names = [self.names[member] for member in members]
        logits = np.ascontiguousarray(self.pool.logits[:, list(members)].transpose(1, 0, 2))
        return combine(self.voice, names, [self.pool.embeddings[member] for member in members], logits)

    def combine(self, members: Sequence[int]) -> Floats:
        """float32[n, c], what `members` say together, in whatever order they are named."""
        key = tuple(sorted(members))
        if key not in self._known:
            self._known[key] = self.ask(key).logits
        return self._known[key]

    def right(self, members: Sequence[int]) -> Booleans:
        """bool[n]: where the answer of `members` is the true class."""
        return np.asarray(self.combine(members).argmax(axis=1) == self.pool.truth)
