"""What the retrieval suite finds, as values and as JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.pipeline.shipped.retrieval_file import RetrievalAbout
from service.policies import QueryKind
from training.data.rows import DataError
from training.evaluate.statistics import Score

DIGITS = 5
"""Enough for a hundredth of a percent; more would make every re-run on another processor a change of the file."""

RECALL_AT = (1, 5, 10)
K = 10
"""The recall that aims, curves and choices speak of."""

COMMITTEES = ("mean", "mean_cosine", "nlc", "cascade")
COMPARISONS = (("nlc", "best"), ("nlc", "mean"), ("cascade", "best"), ("cascade", "nlc"))
"""Whose recall is compared with whose; `best` is the best single backbone by the same recall, in hindsight."""


@dataclass(frozen=True)
class BackboneFacts:
    """Which files were measured. GFLOPs per picture and per text."""

    family: str
    image_gflops: float
    text_gflops: float
    temperature: float
    image_sha256: str
    text_sha256: str


@dataclass(frozen=True)
class Shipped:
    """What the repository ships for galleries; `sha256` of its file."""

    name: str
    sha256: str
    prefix: tuple[str, ...]
    thresholds: dict[QueryKind, float]
    about: RetrievalAbout


@dataclass(frozen=True)
class Found:
    """One way to search: recall by k of `RECALL_AT`, GFLOPs per query, and those as a share of the committee's."""

    recall: dict[int, Score]
    gflops: float
    gflops_share: float


@dataclass(frozen=True)
class CurvePoint:
    """The cascade at one threshold: shares of 1."""

    threshold: float
    escalated: float
    gflops_share: float
    recall: float


@dataclass(frozen=True)
class DirectionReport:
    """One kind of query in a gallery of `items`, of which some are `synthetic`.

    `best`: by k the backbone of most recall. `gains`: by `a over b` of `COMPARISONS` and by k. `escalated`: share of
    the cascade's queries that everybody answered. `weights`: by backbone, the mean over queries of its share of the
    score.
    """

    kind: QueryKind
    queries: int
    items: int
    synthetic: int
    backbones: dict[str, Found]
    committees: dict[str, Found]
    best: dict[int, str]
    gains: dict[str, dict[int, Score]]
    escalated: Score
    weights: dict[str, float]
    curve: tuple[CurvePoint, ...]

    def gain(self, one: str, other: str, k: int = K) -> Score:
        return self.gains[f"{one} over {other}"][k]


@dataclass(frozen=True)
class SetReport:
    """One retrieval set; perhaps in galleries that hold synthetic items besides its own."""

    source: str
    novelty: str
    pictures: int
    captions: int
    rows_sha256: str
    directions: tuple[DirectionReport, ...]

    @property
    def synthetic(self) -> bool:
        return any(direction.synthetic for direction in self.directions)


@dataclass(frozen=True)
class Realism:
    """Recall at 10 of `nlc` with `others` further items in the gallery: real ones, and as many synthetic ones."""

    kind: QueryKind
    source: str
    others: int
    real: float
    synthetic: float


@dataclass(frozen=True)
class RetrievalReport:
    """The whole suite. `folding_error`: the largest difference, over all test queries and items, between the gateway's
    folded query vector and the weighted sum of cosines."""

    suite: str
    machine: str
    interval: str
    backbones: dict[str, BackboneFacts]
    shipped: Shipped
    sets: tuple[SetReport, ...]
    realism: tuple[Realism, ...]
    folding_error: float


def dump_report(report: RetrievalReport) -> str:
    """The report as JSON, a direction in one line."""
    content = asdict(report)
    content["realism"] = _rounded(content["realism"])
    lines = [f"{json.dumps(key)}: {_line(value)}" for key, value in content.items() if key != "sets"]
    sets = []
    for each in _rounded(content["sets"]):
        directions = ",\n".join(f"  {_line(direction)}" for direction in each.pop("directions"))
        sets.append(f'{_line(each)[:-1]}, "directions": [\n{directions}\n ]}}')
    return "{\n" + ",\n".join(lines) + ',\n"sets": [\n ' + ",\n ".join(sets) + "\n]\n}\n"


def load_report(path: Path) -> RetrievalReport:
    """A report that `dump_report` wrote. Raises `DataError` for a file that is none."""
    try:
        return TypeAdapter(RetrievalReport).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: not a report of the retrieval suite: {error}") from error


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
