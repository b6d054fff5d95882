"""Reports of suites as JSON that a version control shows well: a short number of digits, a line for every group."""

import json
from collections.abc import Collection, Mapping
from typing import Any


def report_json(content: Mapping[str, Any], *, lists: Collection[str], digits: int) -> str:
    """`content` with floats of so many significant digits, a line for every key and for every item of `lists`."""
    parts = []
    for key, value in content.items():
        rounded = _rounded(value, digits)
        if key in lists and rounded:
            lines = ",\n ".join(_line(each) for each in rounded)
            parts.append(f"{json.dumps(key)}: [\n {lines}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {_line(rounded)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: _rounded(item, digits) for key, item in value.items()}
    return [_rounded(item, digits) for item in value] if isinstance(value, list | tuple) else value
