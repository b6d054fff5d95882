"""Typed fields of items, as they stand on the command line and in files."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from service.cli.output import count, listed, printable
from service.cli.text_lines import json_lines

if TYPE_CHECKING:
    from service.client.gallery_content import FieldValue
    from service.policies import FieldType

HINT: Final = "--fields"
ID: Final = "id"
TYPES: Final[tuple[FieldType, ...]] = ("string", "integer", "number", "boolean")
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
A: Final[Mapping[FieldType, str]] = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


class FieldError(ValueError):
    """A value is not of its field's type; the message says which."""


@dataclass(frozen=True, slots=True)
class FieldRows:
    """By the item's id what a --fields file says of it; `texts` where everything in it is text (CSV)."""

    path: Path
    texts: bool
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def check_columns(self, types: Mapping[str, FieldType], gallery: str) -> None:
        """A misspelt field is an error, not one that is silently left out."""
        unknown = sorted({name for row in self.rows.values() for name in row} - set(types))
        if unknown:
            has = f"it has {', '.join(types)}" if types else "it has none"
            raise typer.BadParameter(
                f"{gallery} has no field {listed(unknown)}: {has}. A new gallery gets its fields by --field NAME=TYPE, "
                "one that is there with --rebuild besides",
                param_hint=HINT,
            )

    def of(self, item: str, types: Mapping[str, FieldType]) -> dict[str, FieldValue] | None:
        """None where nothing is said of the item. Raises `FieldError`."""
        row = self.rows.get(item)
        if row is None:
            return None
        if self.texts:
            return {name: from_text(name, text, types[name]) for name, text in row.items()}
        return {name: checked(name, value, types[name]) for name, value in row.items()}


def declared(texts: Sequence[str]) -> dict[str, FieldType]:
    """`["year=integer"]` as the gallery's fields. Raises `typer.BadParameter`."""
    found: dict[str, FieldType] = {}
    for text in texts:
        name, equals, given = text.partition("=")
        kind = next((each for each in TYPES if each == given.strip()), None)
        if not equals or kind is None or not NAME.fullmatch(name.strip()):
            raise typer.BadParameter(
                f'"{text}" is no field. One looks like year=integer: a name of small letters, digits and underscores, '
                f"and one of {', '.join(TYPES)}",
                param_hint="--field",
            )
        if name.strip() in found:
            raise typer.BadParameter(f"{name.strip()} is declared twice", param_hint="--field")
        found[name.strip()] = kind
    return found


def read_rows(path: Path) -> FieldRows:
    """A .csv with a column `id`, or lines of JSON like {"id": "a.jpg", "year": 2024}. Raises `typer.BadParameter`."""
    lines = path.suffix.lower() in (".jsonl", ".ndjson")
    rows: dict[str, Mapping[str, Any]] = {}
    for place, row in _json_rows(path) if lines else _csv_rows(path):
        given = row.pop(ID, None)
        if not isinstance(given, str) or not given:
            raise typer.BadParameter(f'{place} has no "{ID}"', param_hint=HINT)
        name = unicodedata.normalize("NFC", given)
        if name in rows:
            raise typer.BadParameter(f'{place}: "{name}" was there before', param_hint=HINT)
        rows[name] = row
    if not rows:
        raise typer.BadParameter(f"there is nothing in {printable(path)}", param_hint=HINT)
    return FieldRows(path, not lines, rows)


def known(given: Mapping[str, Any], types: Mapping[str, FieldType]) -> dict[str, FieldValue]:
    """Those that the gallery has, of what came with an item. Raises `FieldError`."""
    return {name: checked(name, value, types[name]) for name, value in given.items() if name in types}


def checked(name: str, value: Any, kind: FieldType) -> FieldValue:
    """Raises `FieldError`."""
    fits = {
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < inf,
        "boolean": isinstance(value, bool),
    }
    if value is not None and not fits[kind]:
        raise FieldError(f"{name} takes {A[kind]}, and {str(value)!r:.60} is none")
    return value  # type: ignore[no-any-return]  # its type was just looked at


def from_text(name: str, text: str, kind: FieldType) -> FieldValue:
    """No text is no value. Raises `FieldError`."""
    text = text if kind == "string" else text.strip()
    if not text:
        return None
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return checked(name, float(text), kind)
        return BOOLEANS[text.lower()] if kind == "boolean" else text
    except (ValueError, KeyError):
        raise FieldError(f"{name} takes {A[kind]}, and {text!r:.60} is none") from None


def about_nobody(rows: FieldRows, ids: set[str]) -> str | None:
    """A sentence about rows that no item has."""
    others = [name for name in rows.rows if name not in ids]
    if not others:
        return None
    return f"{count(len(others), 'row', 'rows')} of {printable(rows.path)} of no item: {listed(others)}."


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in json_lines(path, HINT):
        yield f"{printable(path)}, line {number}", row


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            if ID not in columns or len(set(columns)) < len(columns):
                raise typer.BadParameter(
                    f'{printable(path)} has no column "{ID}" in its first line, or one of them twice', param_hint=HINT
                )
            for values in filter(None, reader):
                place = f"{printable(path)}, line {reader.line_num}"
                if len(values) != len(columns):
                    wrong = f"{place} has {count(len(values), 'column', 'columns')}, the first line {len(columns)}"
                    raise typer.BadParameter(wrong, param_hint=HINT)
                yield place, dict(zip(columns, values, strict=True))
    except OSError as error:
        raise typer.BadParameter(f"{printable(path)}: {error.strerror}", param_hint=HINT) from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{printable(path)} is not a text file in UTF-8", param_hint=HINT) from error
    except csv.Error as error:
        raise typer.BadParameter(f"{printable(path)} cannot be read as CSV: {error}", param_hint=HINT) from error
