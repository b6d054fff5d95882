"""Writes the chart's README: `python -m tests.support.chart_readme helm/README.md`.

The prose is in helm/docs/, the tables are made from the comments of values.yaml: `# -- A sentence.` stands above the
value that it is about. A value with one is a row (its default as it stands, maps in braces); a map without one only
groups what is in it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.chart import CHART, read_yaml

MARK = "# -- "
LINE = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):(?: |$)")
HEAD = "<!-- Made from helm/docs/ and the comments of helm/values.yaml by `make chart-readme`. -->\n\n"
INDENT = 2


@dataclass(frozen=True)
class Row:
    """One value that is documented."""

    name: str
    default: Any
    words: str

    @property
    def section(self) -> str:
        return self.name.partition(".")[0]


def rows(text: str, values: Mapping[str, Any]) -> Iterator[Row]:
    """In the order of the file. Raises `ValueError` for a comment that is above no value."""
    way: list[str] = []
    words: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith(MARK):
            if words is not None:
                raise ValueError(f"values.yaml:{number}: two comments for one value")
            words = line.partition(MARK)[2].strip()
        elif found := LINE.match(line):
            way = [*way[: len(found[1]) // INDENT], found[2]]
            if words is not None:
                yield Row(".".join(way), _at(values, way), words)
                words = None
        elif words is not None:
            raise ValueError(f"values.yaml:{number}: there is no value below {words!r}")


def _at(values: Mapping[str, Any], way: list[str]) -> Any:
    found: Any = values
    for name in way:
        found = found[name]
    return found


def documented(values: Mapping[str, Any], names: set[str], path: str = "") -> Iterator[str]:
    """Values that no row is about: neither they themselves nor a map that they are in."""
    for key, value in values.items():
        name = f"{path}.{key}".lstrip(".")
        if name in names:
            continue
        if isinstance(value, dict) and value:
            yield from documented(value, names, name)
        else:
            yield name


def readme() -> str:
    """The whole text."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    values = read_yaml(CHART / "values.yaml")
    found = list(rows(text, values))
    missing = list(documented(values, {row.name for row in found}))
    if missing:
        raise ValueError(f"values.yaml: there is no comment `{MARK}…` for {', '.join(missing)}")
    parts = [_prose("intro.md"), "## Values\n", *_tables(found), _prose("upgrading.md")]
    return HEAD + "\n".join(parts)


def _prose(name: str) -> str:
    return (CHART / "docs" / name).read_text(encoding="utf-8")


def _tables(found: list[Row]) -> Iterator[str]:
    """One table for each section of several values, the single ones together before them."""
    sections = {row.section: [each for each in found if each.section == row.section] for row in found}
    single = [row for each in sections.values() if len(each) == 1 for row in each]
    if single:
        yield _table(single)
    for name, several in sections.items():
        if len(several) > 1:
            yield f"### `{name}`\n"
            yield _table(several)


def _table(found: list[Row]) -> str:
    lines = [f"| `{row.name}` | {_cell(row.default)} | {_escaped(row.words)} |" for row in found]
    return "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *lines, ""])


def _cell(default: Any) -> str:
    if default in ("", None) or default == {} or default == []:
        return "none"
    return f"`{_escaped(default if isinstance(default, str) else _flow(default))}`"


def _flow(value: Any) -> str:
    """As one writes it in a line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z][-\w./]*|\d+\w+", value) else json.dumps(value)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(readme(), encoding="utf-8")
