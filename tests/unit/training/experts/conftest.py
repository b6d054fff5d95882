"""Scenes that several files of tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.training.experts.made_up_scenes import draw_scenes


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sources of `draw_scenes`, not to be written to."""
    return draw_scenes(tmp_path_factory.mktemp("scenes"))
