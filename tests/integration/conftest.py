"""The command line for tests: on the tiny repository, with state of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from tests.support.images import jpeg

Quorum = Callable[..., Result]


@pytest.fixture
def environment(fake_repository: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "QUORUM_MODEL_REPOSITORY": str(fake_repository),
        "QUORUM_STATE_PATH": str(tmp_path / "state" / "quorum.sqlite3"),
        "QUORUM_ENGINE": "fake",
    }


@pytest.fixture
def quorum(environment: dict[str, str]) -> Quorum:
    """`quorum("classify", path, …, stdin=…, QUORUM_…=…)` in this process."""

    def invoke(*arguments: str | Path, stdin: bytes = b"", **variables: str) -> Result:
        return CliRunner().invoke(app, [str(each) for each in arguments], input=stdin, env=environment | variables)

    return invoke


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    path = tmp_path / "cat.jpg"
    path.write_bytes(jpeg(seed=1))
    return path
