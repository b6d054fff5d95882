"""Lines of JSON: texts that are to become items, and rows of fields. JSON lines of any length are never read whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import typer

from service.cli.entries import HINT as SOURCE
from service.cli.entries import Entry, ReadLimits, UnreadableError
from service.cli.output import printable

MAX_LINE_BYTES: Final = 1 << 20


@dataclass(slots=True)
class LinesSource:
    """`{"id": "1", "text": "a red dress", "fields": {"year": 2024}}`, one a line; `fields` may be left out."""

    path: Path
    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def scan(self) -> None:
        for number, line in json_lines(self.path, SOURCE):
            self.entries.append(self._entry(number, line))

    def contents(self, limits: ReadLimits) -> Iterator[tuple[Entry, bytes | str | UnreadableError]]:
        for entry, (_, line) in zip(self.entries, json_lines(self.path, SOURCE), strict=False):
            if entry.problem is None:
                yield entry, _text(line.get("text"), limits)

    def _entry(self, number: int, line: dict[str, Any]) -> Entry:
        match line:
            case {"id": str(name), "text": str(text), **others} if name and set(others) <= {"fields"}:
                fields = others.get("fields")
                if isinstance(fields, dict | None):
                    problem = None if text.strip() else "there is no text in it"
                    return Entry(name, f"{self.path}, line {number}", "text", fields, problem)
        raise typer.BadParameter(
            f'{printable(self.path)}, line {number}: expected {{"id": "…", "text": "…"}}, with "fields" or without',
            param_hint=SOURCE,
        )


def _text(text: object, limits: ReadLimits) -> str | UnreadableError:
    if not isinstance(text, str):
        return UnreadableError("the file was changed meanwhile")
    if len(text) > limits.text_characters:
        return UnreadableError(f"it has more than {limits.text_characters:,} characters (QUORUM_MAX_TEXT_CHARACTERS)")
    return text


def json_lines(path: Path, hint: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in a file with their line numbers; empty lines are passed over. Raises `typer.BadParameter`."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if line.strip(b"\xef\xbb\xbf \t\r\n"):
                    yield number, _object(line, f"{printable(path)}, line {number}", hint)
    except OSError as error:
        raise typer.BadParameter(f"{printable(path)}: {error.strerror}", param_hint=hint) from error


def _object(line: bytes, place: str, hint: str) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise typer.BadParameter(f"{place} has more than {MAX_LINE_BYTES:,} bytes", param_hint=hint)
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise typer.BadParameter(f"{place} is not JSON in UTF-8", param_hint=hint) from None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{place} is no JSON object", param_hint=hint)
    return found
