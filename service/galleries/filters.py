"""Typed fields: what an item may say in them, and what a filter may ask of them.

A filter is an object whose conditions must all hold, by field:

    a value                       the field has this value
    null                          it has none
    [a value or null, ...]        it has one of these
    {"gt" | "gte" | "lt" | "lte": value}    it has one in this range: numbers by size, strings by code points
    {"in": [...]}                 as the bare list
    {"not": value, null or [...]} the opposite of the same without `not`

**`not` is the opposite**: what `x` does not match, `{"not": x}` does, items without a value among them (SQL would leave
these out of both). `{"not": null}` matches the items that have a value. Ranges match none without a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeGuard

from service.errors import InvalidFilterError, InvalidItemError
from service.galleries.base import FieldValue
from service.policies import FieldType

MAX_CONDITIONS: Final = 64
MAX_VALUES: Final = 1_000
MAX_STRING_BYTES: Final = 65_535
"""What a text column of Milvus holds."""
MAX_INTEGER: Final = 2**63 - 1
"""The least one is its negative: one more would fit, and cannot be written in Milvus' expressions."""

ORDERED: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
OPERATORS: Final = (*ORDERED, "in", "not")
WORDS: Final[Mapping[FieldType, str]] = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
Raise = Callable[[str], Exception]


def column_of(field: str) -> str:
    """The column that keeps a field: under a prefix, so that no field is called as a column of ours or a keyword."""
    return f"field_{field}"


def quoted(text: str) -> str:
    """A string literal of Milvus' expressions. Raises `ValueError` where `text` is no Unicode text."""
    text.encode()  # a lone surrogate
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def any_of(column: str, values: Sequence[str]) -> str:
    """The expression for rows whose text in `column` is one of `values`."""
    return f"{column} in [{', '.join(map(quoted, values))}]"


def compile_filter(given: Mapping[str, object], fields: Mapping[str, FieldType]) -> str:
    """The expression of Milvus over the columns of `fields` that says what `given` does (the module says what that is).

    Raises `InvalidFilterError`, which names the field and the fix.
    """
    if not given:
        raise _invalid("An empty filter says nothing. Leave it out, or name a field.")
    compiled: list[str] = []
    for field, asked in given.items():
        if field not in fields:
            raise _invalid(_unknown(field, fields))
        compiled += _Field(field, fields[field]).conditions(asked)
    if len(compiled) > MAX_CONDITIONS:
        raise _invalid(f"A filter has at most {MAX_CONDITIONS} conditions, this one {len(compiled)}.")
    return " and ".join(compiled)


def check_fields(
    given: Mapping[str, object], fields: Mapping[str, FieldType], max_characters: int
) -> dict[str, FieldValue]:
    """An item's values, as they are stored: of every field in `fields`, None where `given` has none.

    Raises `InvalidItemError`, which names the field and the fix.
    """
    for field in given:
        if field not in fields:
            raise InvalidItemError(_unknown(field, fields), param="fields")

    def invalid(message: str) -> Exception:
        return InvalidItemError(message, param="fields")

    checked: dict[str, FieldValue] = {}
    for field, kind in fields.items():
        value = given.get(field)
        checked[field] = None if value is None else _value(field, kind, value, invalid)
        if isinstance(value, str) and len(value) > max_characters:
            raise invalid(f"Field {field} takes at most {max_characters} characters, this value has {len(value)}.")
    return checked


class _Field:
    """Conditions on one field."""

    def __init__(self, name: str, kind: FieldType) -> None:
        self._name = name
        self._kind = kind
        self._column = column_of(name)

    def conditions(self, asked: object) -> list[str]:
        """Each in brackets of its own, or a single comparison."""
        if not isinstance(asked, Mapping):
            return [self._one_of(asked)]
        if not asked:
            raise _invalid(f"Field {self._name} has an empty object. It takes {', '.join(OPERATORS)}.")
        return [self._operator(operator, value) for operator, value in asked.items()]

    def _operator(self, operator: object, value: object) -> str:
        if operator == "not":
            return self._none_of(value)
        if operator == "in":
            if not _is_list(value):
                raise _invalid(f"Field {self._name}: in takes a list of values.")
            return self._one_of(value)
        if operator not in ORDERED:
            raise _invalid(f"Field {self._name}: there is no operator {operator!r:.80}, only {', '.join(OPERATORS)}.")
        if self._kind == "boolean":
            raise _invalid(f"Field {self._name} is a boolean: it has no order, and takes no {operator}.")
        if value is None:
            raise _invalid(
                f"Field {self._name}: {operator} takes a value. For items without one send null, "
                'for those with one {"not": null}.'
            )
        return f"{self._column} {ORDERED[str(operator)]} {self._literal(value)}"

    def _one_of(self, asked: object) -> str:
        literals, null = self._literals(asked)
        parts = [f"{self._column} == {literal}" for literal in literals]
        if len(literals) > 1 and self._kind != "boolean":
            parts = [f"{self._column} in [{', '.join(literals)}]"]
        if null:
            parts.append(f"{self._column} is null")
        return f"({' or '.join(parts)})"

    def _none_of(self, asked: object) -> str:
        literals, null = self._literals(asked)
        parts = [f"{self._column} != {literal}" for literal in literals]
        if len(literals) > 1 and self._kind != "boolean":
            parts = [f"{self._column} not in [{', '.join(literals)}]"]
        if null:
            return f"({' and '.join([*parts, f'{self._column} is not null'])})"
        return f"(({' and '.join(parts)}) or {self._column} is null)"

    def _literals(self, asked: object) -> tuple[list[str], bool]:
        """The values that are asked for, each once, and whether null is among them."""
        values = asked if _is_list(asked) else [asked]
        if not values:
            raise _invalid(f"Field {self._name} has an empty list, which nothing matches. List at least one value.")
        if len(values) > MAX_VALUES:
            raise _invalid(f"Field {self._name} lists {len(values)} values, at most {MAX_VALUES} are allowed.")
        literals = dict.fromkeys(self._literal(value) for value in values if value is not None)
        return list(literals), any(value is None for value in values)

    def _literal(self, value: object) -> str:
        checked = _value(self._name, self._kind, value, _invalid)
        if isinstance(checked, bool):
            return "true" if checked else "false"
        return quoted(checked) if isinstance(checked, str) else repr(checked)


def _value(field: str, kind: FieldType, value: object, invalid: Raise) -> str | int | float | bool:
    """`value` as a field of `kind` stores it. Raises what `invalid` makes of a sentence."""
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "string" and isinstance(value, str):
        return _string(field, value, invalid)
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_INTEGER:
            raise invalid(f"Field {field} takes whole numbers from -{MAX_INTEGER} to {MAX_INTEGER}.")
        return value
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return _number(field, value, invalid)
    raise invalid(f"Field {field} takes {WORDS[kind]}, this is {_described(value)}.")


def _string(field: str, value: str, invalid: Raise) -> str:
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise invalid(f"Field {field} has half of a surrogate pair, which is no text.") from error
    if size > MAX_STRING_BYTES:
        raise invalid(f"Field {field} takes at most {MAX_STRING_BYTES} bytes of UTF-8, this value has {size}.")
    return value


def _number(field: str, value: float, invalid: Raise) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise invalid(f"Field {field} takes numbers of double precision, this one is too large.") from error
    if not math.isfinite(number):
        raise invalid(f"Field {field} takes finite numbers, this is {number}.")
    return number + 0.0  # one zero: a list of values tells 0.0 from -0.0


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _described(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'the string "{value:.40}"'
    if isinstance(value, int | float):
        return "a number" if isinstance(value, float) else "a whole number"
    return "a list" if _is_list(value) else "an object"


def _unknown(field: str, fields: Mapping[str, FieldType]) -> str:
    known = ", ".join(f"{name} ({kind})" for name, kind in fields.items())
    return f"There is no field {field!r:.80} in this gallery. " + (f"It has: {known}." if known else "It has none.")


def _invalid(message: str) -> InvalidFilterError:
    return InvalidFilterError(message, param="filter")
