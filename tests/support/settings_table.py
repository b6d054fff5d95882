"""Writes the table of settings that is committed: `python -m tests.support.settings_table docs/settings.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from service.settings import Settings, TracingSettings

HEAD = """# Settings

Read once at start from the environment. `make serve` and `quorum serve` take the same names; flags win over variables.

| variable | default | meaning |
| --- | --- | --- |
"""


TRACING = """
## Tracing

Of OpenTelemetry's own variables these say whether requests are traced, and where spans are sent to. Its SDK reads the
others: `OTEL_SERVICE_NAME` (`quorum` by default), `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`,
`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT`, `OTEL_BSP_…` and so on.

| variable | default | meaning |
| --- | --- | --- |
"""


def settings_table() -> str:
    return f"{HEAD}{_rows(Settings)}{TRACING}{_rows(TracingSettings)}"


def _rows(settings: type[BaseSettings]) -> str:
    prefix = settings.model_config["env_prefix"]
    rows = [
        f"| `{prefix}{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in settings.model_fields.items()
    ]
    return "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    if isinstance(value, SecretStr):  # where a password may be; a default holds none
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if value not in ("", None) else "none"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(settings_table(), encoding="utf-8")
