"""`--where` conditions as the API's filter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from service.cli.item_fields import FieldError, from_text

if TYPE_CHECKING:
    from service.client.gallery_content import FieldValue
    from service.policies import FieldType

HINT: Final = "--where"
CONDITION: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(!=|>=|<=|=|>|<)(.*)", re.DOTALL)
RANGES: Final = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


def check(texts: Sequence[str]) -> None:
    """Before anybody is asked for the fields. Raises `typer.BadParameter`."""
    for text in texts:
        _parts(text)


def compiled(texts: Sequence[str], types: Mapping[str, FieldType], gallery: str) -> dict[str, Any] | None:
    """All of them must hold; of several `=` of one field one. No value stands for items without one.

    `["year>=2020", "source=web", "source=upload"]` is `{"year": {"gte": 2020}, "source": {"in": ["web", "upload"]}}`.
    Raises `typer.BadParameter`.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, sign, written = _parts(text)
        value = _value(name, written, types, gallery)
        conditions = found.setdefault(name, {})
        if sign in RANGES:
            if RANGES[sign] in conditions or value is None:
                raise typer.BadParameter(f'"{text}": one value after {sign}, once for a field', param_hint=HINT)
            conditions[RANGES[sign]] = value
        else:
            conditions.setdefault("in" if sign == "=" else "not", []).append(value)
    return found or None


def _parts(text: str) -> tuple[str, str, str]:
    match = CONDITION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(
            f'"{text}" is no condition. One looks like year>=2020 or source=web (=, !=, >, >=, <, <=)', param_hint=HINT
        )
    name, sign, written = match.groups()
    return name, sign, written.strip()


def _value(name: str, written: str, types: Mapping[str, FieldType], gallery: str) -> FieldValue:
    if name not in types:
        has = f"it has {', '.join(types)}" if types else "it has none"
        raise typer.BadParameter(f'{gallery} has no field "{name}": {has}', param_hint=HINT)
    try:
        return from_text(name, written, types[name])
    except FieldError as error:
        raise typer.BadParameter(str(error), param_hint=HINT) from error
