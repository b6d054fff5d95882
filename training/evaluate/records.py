"""Results of units of work as lines of JSON in a folder, and the tensors that are kept of some of them."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, Protocol, Self, TypeVar

from torch import Tensor

from training.checkpoint import load_tensors, save_tensors
from training.data.rows import DataError

UNITS: Final = "units.jsonl"
STATES: Final = "states.safetensors"

States = dict[str, dict[str, Tensor]]


class Found(Protocol):
    """What a unit found, as a line of a file."""

    @property
    def key(self) -> str:
        """Digest of all that decides it."""

    def line(self) -> str:
        """As it lies in a file."""


FoundT = TypeVar("FoundT", bound=Found)


def read_lines(path: Path, parse: Callable[[str], FoundT]) -> dict[str, FoundT]:
    """Results by key; none where there is no file. A last line that a kill cut off is left out.

    Raises `DataError` for any other line of which `parse` raises `ValueError`, `TypeError` or `KeyError`.
    """
    if not path.is_file():
        return {}
    text = path.read_text("utf-8")
    lines = text.splitlines()
    if text and not text.endswith("\n"):
        lines.pop()
    return {found.key: found for found in (_parsed(line, path, parse) for line in lines)}


def _parsed(line: str, path: Path, parse: Callable[[str], FoundT]) -> FoundT:
    try:
        return parse(line)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: a line that is no result of a unit: {line[:60]!r}") from error


def write_lines(path: Path, results: Iterable[Found]) -> None:
    """All of `results` in place of what is there, through a temporary file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(f"{result.line()}\n" for result in results), encoding="utf-8")
    os.replace(partial, path)


def append_line(path: Path, result: Found) -> None:
    """One more line, on disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{result.line()}\n")
        file.flush()
        os.fsync(file.fileno())


@dataclass
class Records(Generic[FoundT]):
    """Results and kept tensors in a folder, brought up to date unit by unit. Who uses it says how a line is read."""

    out: Path
    results: dict[str, FoundT] = field(default_factory=dict)
    states: States = field(default_factory=dict)

    @staticmethod
    def parse(line: str) -> FoundT:
        """A line as a result."""
        raise NotImplementedError

    @classmethod
    def read(cls, out: Path) -> Self:
        """What the folder holds. A line that a kill cut off is removed from the file."""
        record = cls.open(out)
        write_lines(out / UNITS, record.results.values())
        return record

    @classmethod
    def open(cls, out: Path) -> Self:
        """What the folder holds. No file is touched: a run may be at work on them."""
        record = cls(out, read_lines(out / UNITS, cls.parse))
        if (out / STATES).is_file():
            for name, value in load_tensors(out / STATES)[0].items():
                label, _, rest = name.partition("/")
                record.states.setdefault(label, {})[rest] = value
        return record

    def add(self, result: FoundT) -> None:
        """One more result, on disk when this returns."""
        self.results[result.key] = result
        append_line(self.out / UNITS, result)

    def keep(self, name: str, state: dict[str, Tensor]) -> None:
        """Tensors under a name without a slash; the file of all of them is written again."""
        self.states[name] = state
        tensors = {f"{name}/{key}": value for name, each in self.states.items() for key, value in each.items()}
        save_tensors(self.out / STATES, tensors, {"labels": list(self.states)})
