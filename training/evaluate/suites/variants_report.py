"""What the variants suite finds, as values and as JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from training.data.rows import DataError
from training.evaluate.statistics import Score
from training.evaluate.suites.zoo_report import BackboneFacts, rounded

EVERYTHING: Final = "all tasks"
ELSEWHERE: Final = "tasks of sources that the variant was not fitted on"
OWN: Final = "tasks of sources that the variant was fitted on"
"""Groups of tasks."""


@dataclass(frozen=True)
class Compared:
    """One figure four times, on the same items: `base` is the backbone that the variant was made from, `alone` the
    variant, `committee` those that vote by default, `joined` the same with the variant among them. `gain`: joined less
    committee, `over_base`: alone less base, each on the same resamples."""

    base: Score
    alone: Score
    committee: Score
    joined: Score
    gain: Score
    over_base: Score


@dataclass(frozen=True)
class ComparedTask:
    """One task. `classes`: null for a retrieval set. `fitted`: whether the variant was fitted on the source."""

    task: str
    classes: int | None
    items: int
    fitted: bool
    rows_sha256: str
    scores: Compared


@dataclass(frozen=True)
class VariantReport:
    """One variant, made from `base`. `means`: by group of tasks."""

    name: str
    base: str
    votes: str
    facts: BackboneFacts
    fitted_on: tuple[str, ...]
    tasks: tuple[ComparedTask, ...]
    means: dict[str, Compared]


@dataclass(frozen=True)
class VariantsReport:
    """The whole suite. `committee`: who votes by default in every comparison."""

    suite: str
    machine: str
    interval: str
    committee: dict[str, BackboneFacts]
    variants: tuple[VariantReport, ...]


def dump_report(report: VariantsReport) -> str:
    """The report as JSON."""
    return json.dumps(rounded(asdict(report)), indent=1, ensure_ascii=False) + "\n"


def load_report(path: Path) -> VariantsReport:
    """A report that `dump_report` wrote. Raises `DataError` for a file that is none."""
    try:
        return TypeAdapter(VariantsReport).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: not a report of the variants suite: {error}") from error
