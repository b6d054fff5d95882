"""Writes the OpenAPI document that is committed: `python -m tests.support.openapi docs/openapi.json`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from pydantic import SecretStr

from service.app import create_app
from service.settings import Settings
from tests.support.repository import write_repository


def openapi_document(folder: Path) -> str:
    """The document of an application on a tiny repository: it does not depend on the zoo. `folder` is empty."""
    state = SecretStr(str(folder / "state.sqlite3"))
    settings = Settings(model_repository=write_repository(folder), state_url=state, engine="fake")
    return json.dumps(create_app(settings).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        Path(sys.argv[1]).write_text(openapi_document(Path(name)), encoding="utf-8")
