"""Small data that every training test may read, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.training.tiny_data import write_small_data


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four tiny sources."""
    return write_small_data(tmp_path_factory.mktemp("data"))
