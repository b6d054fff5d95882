"""The pack of the tests of the study."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.training.evaluate.experts.made_up import small_pack
from training.experts.packs.pack import save_expert_pack


@pytest.fixture(scope="session")
def study_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every set of the study."""
    path = tmp_path_factory.mktemp("study") / "pack.safetensors"
    save_expert_pack(path, small_pack())
    return path
