"""Units of work of the adapter experiments: one fit each, described by values, with results in lines of JSON."""

import hashlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from training.adapters.adapt_config import AdaptConfig
from training.adapters.design import Design
from training.adapters.settings import TRAINING_SETS
from training.evaluate.records import append_line, read_lines

VERSION: Final = 2
"""Of the code that fits and measures: a unit of another version is computed again."""


def told(what: Design) -> dict[str, Any]:
    """A design by what sets it apart from the defaults, so that a new field of designs leaves old results as they are.
    A changed default asks for another `VERSION`."""
    defaults = {each.name: each.default for each in fields(Design)}
    table = what.to_dict()
    return {name: value for name, value in table.items() if getattr(what, name) != defaults[name]}


@dataclass(frozen=True)
class Unit:
    """One fit of `config` on the training set `fitted`. `label` names its design in tables; `tests` are the sources it
    is tested on, none while rates are chosen; `part` is the part of the grid that asked for it first."""

    part: str
    label: str
    fitted: str
    config: AdaptConfig
    tests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.config.sources != TRAINING_SETS[self.fitted]:
            raise ValueError(f"{self.label}: {self.fitted} is not {', '.join(self.config.sources)}")

    @property
    def title(self) -> str:
        """What it is called where it fails."""
        return f"{self.label} on {self.fitted}, seed {self.config.seed}"

    def key(self, pack: str) -> str:
        """Digest of all that decides the result; `pack` is the digest of what it is computed from."""
        config = self.config.to_dict() | {"design": told(self.config.design)}
        content = [VERSION, pack, self.fitted, sorted(self.tests), config]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Result:
    """What a unit found. `loss`: on its training pairs, of the first and the last step; `calibrate`: of the calibrate
    rows of what it was fitted on; `scores`: by test source (`measure.measure`); `added`: parameters by tower."""

    key: str
    label: str
    fitted: str
    seed: int
    rate: float
    epochs: int
    batch_size: int
    design: dict[str, Any]
    steps: int
    loss: tuple[float, float]
    calibrate: float
    added: dict[str, int]
    share: float
    seconds: float
    machine: str
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    part: str = ""

    def line(self) -> str:
        """As it lies in a file."""
        return json.dumps(self.__dict__, ensure_ascii=False)


def parse_result(line: str) -> Result:
    """A line that `Result.line` gave. Raises `ValueError`, `TypeError` or `KeyError` for any other."""
    table = json.loads(line)
    return Result(**(table | {"loss": tuple(table["loss"])}))


def read_results(path: Path) -> dict[str, Result]:
    """Results by key, see `read_lines`. Raises `DataError`."""
    return read_lines(path, parse_result)


def append_result(path: Path, result: Result) -> None:
    """One more line, on disk when this returns."""
    append_line(path, result)
