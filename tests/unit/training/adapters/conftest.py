"""A run and a pack that every test here may read, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.training.adapters.packed import write_pack, write_run


@pytest.fixture(scope="session")
def small_run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `vit-s` with random weights."""
    return write_run(tmp_path_factory.mktemp("runs") / "small", small_data)


@pytest.fixture(scope="session")
def packed(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack around such a run."""
    return write_pack(tmp_path_factory.mktemp("pack"), small_data)
