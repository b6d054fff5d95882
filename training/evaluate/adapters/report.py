"""What the adapters suite found, as values and as JSON: scores by seed, from which tables, plots and words follow."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from training.data.rows import DataError
from training.evaluate.adapters.branches import Branches
from training.evaluate.report_json import report_json

DIGITS: Final = 6


@dataclass(frozen=True)
class SourceFacts:
    """The test rows of a source: pictures, distinct captions, classes (0 for none)."""

    pictures: int
    captions: int
    classes: int

    @property
    def is_search(self) -> bool:
        """Whether captions tell pictures apart. Fewer than one for two pictures are class names in other words."""
        return 2 * self.captions >= self.pictures

    @property
    def metric(self) -> str:
        """The one figure that sums the source up: image retrieval by text, as in the paper, where it is a search."""
        return "text R@1" if self.is_search or not self.classes else "balanced"


@dataclass(frozen=True)
class Group:
    """The fits of one design on one training set that differ in their seed alone.

    `rate`: null where nothing is fitted; `lost`: how many fits lost their loss and have no scores; `calibrate`: loss on
    the calibrate rows, by seed; `scores`: by source and metric, a share of 1 for each of `seeds`; `seconds`: mean of a
    fit with its tests; `machines`: where they ran.
    """

    label: str
    fitted: str
    epochs: int
    batch_size: int
    rate: float | None
    seeds: tuple[int, ...]
    lost: int
    added: int
    share: float
    calibrate: tuple[float, ...]
    scores: dict[str, dict[str, tuple[float, ...]]]
    seconds: float
    machines: tuple[str, ...]


@dataclass(frozen=True)
class Tried:
    """Rates that were tried for one design on one training set, with the loss on calibrate rows; null: it was lost."""

    label: str
    fitted: str
    epochs: int
    rates: tuple[tuple[float, float | None], ...]

    @property
    def best(self) -> float:
        """The rate of the lowest loss."""
        return min(self.rates, key=lambda pair: float("inf") if pair[1] is None else pair[1])[0]

    @property
    def at_edge(self) -> bool:
        """Whether a rate that was not tried may be better still."""
        tried = [rate for rate, _ in self.rates]
        return self.best in (min(tried), max(tried))


@dataclass(frozen=True)
class Timing:
    """Table 7: mean seconds by form, of `runs` forward passes of `batch` inputs of `tokens` positions."""

    machine: str
    threads: int
    batch: int
    tokens: int
    width: int
    runs: int
    seconds: dict[str, float]


Point = tuple[float, float]


@dataclass(frozen=True)
class Cloud:
    """Figure 6 for one design: pictures and a caption of each on two principal axes, in the same order.

    `cosine`: mean cosine of what belongs together; `gap`: distance between the means of both kinds; both of the unit
    embeddings themselves.
    """

    label: str
    pictures: tuple[Point, ...]
    captions: tuple[Point, ...]
    cosine: float
    gap: float


@dataclass(frozen=True)
class Features:
    """Figure 6: clouds of the same rows of one source, on axes of their own; (b): the scales of the fitted MSA."""

    source: str
    clouds: tuple[Cloud, ...]
    branches: Branches | None = None


@dataclass(frozen=True)
class AdaptersReport:
    """The whole suite. `pack`: sha256 of what everything was computed from; `machines`: units by machine;
    `paper_share`: what MSA-Lo adds to ViT-B/16, as a share of its weights."""

    suite: str
    backbone: str
    pack: str
    machines: dict[str, int]
    sources: dict[str, SourceFacts]
    paper_share: float
    groups: tuple[Group, ...]
    tried: tuple[Tried, ...]
    timing: Timing | None
    features: Features | None


def dump_report(report: AdaptersReport) -> str:
    """The report as JSON, a group in one line."""
    return report_json(asdict(report), lists=("groups", "tried"), digits=DIGITS)


def load_report(path: Path) -> AdaptersReport:
    """A report that `dump_report` wrote. Raises `DataError` for a file that is none."""
    try:
        return TypeAdapter(AdaptersReport).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: not a report of the adapters suite: {error}") from error
