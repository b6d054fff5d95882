"""Units of work of the study of experts: one fine-tuning, or none, and its probes, with results in lines of JSON."""

import hashlib
import json
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Final

from training.evaluate.experts.measures import BY_KIND, DEPTH_CAP, measure_of, settings_of
from training.evaluate.records import Records
from training.experts.fitting.config import FitConfig

VERSION: Final = 1
"""Of the code that fits, probes and measures: a unit of another version is computed again."""

Scores = dict[str, dict[str, float]]


def told(value: Any) -> dict[str, Any]:
    """A dataclass by what sets it apart from its defaults, so that a new field leaves old results as they are. A
    changed default asks for another `VERSION`."""
    found: dict[str, Any] = {}
    for each in fields(value):
        own = getattr(value, each.name)
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        if own != default:
            plain = list(own) if isinstance(own, tuple) else own
            found[each.name] = told(own) if is_dataclass(own) else plain
    return found


def _fitted_by(probe: str) -> dict[str, Any]:
    """What else decides a probe's score."""
    settings, cap = settings_of(probe), {"cap": DEPTH_CAP} if measure_of(probe) == BY_KIND["depth"] else {}
    return cap | ({} if settings is None else {"settings": told(settings)})


@dataclass(frozen=True)
class Unit:
    """One fine-tuning of the backbone `tower`, and its probes.

    part: of the grid that asked for it first; label: in tables; config: null for the backbone as it is; sets: what it
    is fitted on, with the origin of the labels ("pseudo" or "exact"); side: of the pictures that probes see; probes:
    names of `measures`; seed: of the fit and of the probes.
    """

    part: str
    label: str
    tower: str
    seed: int
    side: int
    probes: tuple[str, ...]
    config: FitConfig | None = None
    sets: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """What it is called where it fails."""
        return f"{self.label} of {self.tower}, seed {self.seed}"

    def key(self, pack: str) -> str:
        """Digest of all that decides the result; `pack` is the digest of what it is computed from."""
        config = None if self.config is None else told(self.config)
        probes = {probe: _fitted_by(probe) for probe in sorted(self.probes)}
        content = [VERSION, pack, self.tower, self.seed, self.side, probes, config, self.sets]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Result:
    """What a unit found. pictures, steps: of the fit, 0 without one; terms: of its loss, unweighted, smoothed, by name
    as [step, value]; scores: by probe and metric, empty where the fit lost its loss; ious: by probe, of every class,
    null where it is nowhere."""

    key: str
    part: str
    label: str
    tower: str
    seed: int
    side: int
    config: dict[str, Any]
    sets: list[list[str]]
    pictures: int
    steps: int
    terms: dict[str, list[list[float]]]
    scores: Scores
    ious: dict[str, list[float | None]]
    fit_seconds: float
    probe_seconds: float
    machine: str
    lost: bool = field(default=False)

    def line(self) -> str:
        """As it lies in a file."""
        return json.dumps(self.__dict__, ensure_ascii=False)


class Record(Records[Result]):
    """Results, and the maps of some pictures, in a folder."""

    @staticmethod
    def parse(line: str) -> Result:
        """A line as a result."""
        return Result(**json.loads(line))
