"""What the committee suite finds, as values and as JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from training.data.rows import DataError
from training.evaluate.committee.ablations import AblationReport
from training.evaluate.committee.cascade import CascadeReport
from training.evaluate.committee.probes import ProbeReport
from training.evaluate.committee.reliability import ReliabilityReport
from training.evaluate.committee.robustness import RobustnessReport
from training.evaluate.committee.shots_report import ShotsReport
from training.evaluate.committee.subsets import SubsetReport

# Enough digits for a hundredth of a percent; more would make every re-run on another processor a change of the file.
DIGITS = 5

LINES = 3
"""Levels of the JSON that have lines of their own: a section, its parts, and the items of those."""


OPTIONAL = ("notes", "shares")
"""Keys of `Scored` that are left out where they are null: most are, thousands of times."""


@dataclass(frozen=True)
class BackboneFacts:
    """Which files were measured."""

    family: str
    gflops: float
    temperature: float
    image_sha256: str
    text_sha256: str


@dataclass(frozen=True)
class CommitteeReport:
    """The whole suite."""

    suite: str
    machine: str
    backbones: dict[str, BackboneFacts]
    shots: ShotsReport
    reliability: ReliabilityReport
    cascade: CascadeReport
    subsets: SubsetReport
    ablations: AblationReport
    probes: ProbeReport
    robustness: RobustnessReport


def dump_report(report: CommitteeReport) -> str:
    """The report as JSON, the items of a section in one line each."""
    return _lines(_rounded(asdict(report)), LINES) + "\n"


def load_report(path: Path) -> CommitteeReport:
    """A report that `dump_report` wrote. Raises `DataError` for a file that is none."""
    try:
        return TypeAdapter(CommitteeReport).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: not a report of the committee suite: {error}") from error


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items() if item is not None or key not in OPTIONAL}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _lines(value: Any, levels: int) -> str:
    if isinstance(value, dict) and levels and value:
        items = [f"{json.dumps(str(key))}: {_lines(item, levels - 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + "\n}"
    if isinstance(value, list) and levels and value and isinstance(value[0], dict | list):
        return "[\n" + ",\n".join(_lines(item, 0) for item in value) + "\n]"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
