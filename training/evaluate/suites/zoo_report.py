"""What the zoo suite finds, as values and as JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from training.data.rows import DataError
from training.evaluate.aggregate import Choice
from training.evaluate.statistics import Score

# Enough digits for a tenth of a percent; more would make every re-run on another processor a change of the file.
DIGITS = 4

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class BackboneFacts:
    """Which files were measured. `trained_on`: null where the provenance does not say."""

    family: str
    gflops: float
    temperature: float
    image_sha256: str
    text_sha256: str
    trained_on: tuple[str, ...] | None


@dataclass(frozen=True)
class Alone:
    """Share of items that one backbone alone gets right: as it is, with its answers shuffled, the difference, and if
    errors were independent."""

    share: Score
    shuffled: float
    above: Score
    independent: float


@dataclass(frozen=True)
class Measure:
    """One measure on one task. `scores` by backbone, `committees` by policy.

    `oracle_shuffled`: the best backbone as it is, with the answers of all others shuffled. `oracle_independent`: the
    oracle if errors were independent. `only_one`, `only_one_shuffled`: the sums of what `alone` says of each backbone.
    `one_right`: share of items where exactly one of a pair is right.
    """

    name: str
    scores: dict[str, Score]
    committees: dict[str, Score]
    oracle: Score
    oracle_shuffled: float
    oracle_independent: float
    only_one: Score
    only_one_shuffled: float
    alone: dict[str, Alone]
    one_right: Matrix

    @property
    def best(self) -> str:
        """The backbone with the highest score; ties go to the name that sorts first."""
        return min(self.scores, key=lambda name: (-self.scores[name].value, name))


@dataclass(frozen=True)
class TaskReport:
    """One task with its measures: one for a labelled task, several for a retrieval set (`classes` is null there).

    `trained_on`: by backbone whether its training saw the source, null where its provenance does not say.
    `answers_differ`: share of items to which the members of a pair give different answers (labelled tasks).
    """

    task: str
    picture: str
    novelty: str
    items: int
    classes: int | None
    rows_sha256: str
    trained_on: dict[str, bool | None]
    measures: tuple[Measure, ...]
    answers_differ: Matrix | None


@dataclass(frozen=True)
class Aggregate:
    """Means over a group of tasks. `over_best_fixed`: each committee less the best fixed backbone."""

    group: str
    tasks: tuple[str, ...]
    choice: Choice
    backbones: dict[str, Score]
    committees: dict[str, Score]
    over_best_fixed: dict[str, Score]
    oracle: Score
    oracle_shuffled: float


@dataclass(frozen=True)
class Committee:
    """A committee of some backbones under `policy`: its cost per image and its mean score over the labelled tasks."""

    members: tuple[str, ...]
    policy: str
    gflops: float
    score: Score


@dataclass(frozen=True)
class ZooReport:
    """The whole suite. `templates`: by kind of picture, the prompts around class names."""

    suite: str
    machine: str
    interval: str
    backbones: dict[str, BackboneFacts]
    templates: dict[str, tuple[str, ...]]
    tasks: tuple[TaskReport, ...]
    aggregates: tuple[Aggregate, ...]
    committees: tuple[Committee, ...]

    @property
    def labelled(self) -> tuple[TaskReport, ...]:
        return tuple(task for task in self.tasks if task.classes is not None)

    @property
    def retrieval(self) -> tuple[TaskReport, ...]:
        return tuple(task for task in self.tasks if task.classes is None)


def rounded(value: Any) -> Any:
    """Every float in nested dicts, lists and tuples, to `DIGITS`."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def dump_report(report: ZooReport) -> str:
    """The report as JSON, a task's matrices and scores in few lines."""
    content = asdict(report)
    facts = content.pop("backbones")
    lines = {key: value for key, value in content.items() if key not in ("tasks", "aggregates", "committees")}
    parts = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in lines.items()]
    # GFLOPs and temperatures are copied from the configurations, digit by digit.
    parts.append(f'"backbones": {_one_per_line(facts)}')
    parts += [f"{json.dumps(key)}: {_list(rounded(content[key]))}" for key in ("tasks", "aggregates", "committees")]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _one_per_line(table: dict[str, Any]) -> str:
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()) + "\n}"


def _list(items: list[Any]) -> str:
    return "[\n" + ",\n".join(f" {json.dumps(item, ensure_ascii=False)}" for item in items) + "\n]"


def load_report(path: Path) -> ZooReport:
    """A report that `dump_report` wrote. Raises `DataError` for a file that is none."""
    try:
        return TypeAdapter(ZooReport).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: not a report of the zoo suite: {error}") from error
