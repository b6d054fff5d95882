"""The command line for tests: on the tiny repository, with state of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from tests.support.images import jpeg

Quorum = Callable[..., Result]
Photos = Callable[..., Path]

LABELS = ("cat", "dog", "fox")


@pytest.fixture
def environment(fake_repository: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "QUORUM_MODEL_REPOSITORY": str(fake_repository),
        "QUORUM_STATE_URL": str(tmp_path / "state" / "quorum.sqlite3"),
        "QUORUM_GALLERIES_URL": str(tmp_path / "state" / "galleries.db"),
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


@pytest.fixture
def pets(quorum: Quorum) -> str:
    """The name of a label set of `LABELS`."""
    assert quorum("labels", "set", "pets", "--labels", ",".join(LABELS)).exit_code == 0
    return "pets"


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """`photos(3, "cat", "dog")`: a folder with that many different images of each class, or without any classes."""

    def make(count: int, *classes: str, name: str = "photos") -> Path:
        folder = tmp_path / name
        for label in classes or ("",):
            inside = folder / label
            inside.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (inside / f"{number}.jpg").write_bytes(jpeg(24, 24, seed=crc32(label.encode()) + number))
        return folder

    return make
