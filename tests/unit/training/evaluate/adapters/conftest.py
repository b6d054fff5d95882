"""The pack of the adapter tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.training.adapters.packed import write_pack


@pytest.fixture(scope="session")
def packed(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pack around a random `vit-s`."""
    return write_pack(tmp_path_factory.mktemp("pack"), small_data)
