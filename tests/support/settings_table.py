"""Writes the table of settings that is committed: `python -m tests.support.settings_table docs/settings.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from service.settings import Settings

HEAD = """# Settings

Read once at start from the environment. `make serve` and `quorum serve` take the same names; flags win over variables.

| variable | default | meaning |
| --- | --- | --- |
"""


def settings_table() -> str:
    rows = [
        f"| `QUORUM_{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    if isinstance(value, SecretStr):  # where a password may be; a default holds none
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"`{value}`" if value not in ("", None) else "none"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(settings_table(), encoding="utf-8")
