"""Embeddings that are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.evaluate.cache import EmbeddingCache, digest_of

pytestmark = pytest.mark.torch

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


class Counted:
    """How often the rows were computed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return ROWS


def test_what_was_computed_once_is_found_again(tmp_path: Path) -> None:
    compute = Counted()
    for _ in range(2):
        assert np.array_equal(EmbeddingCache(tmp_path / "new").rows(["a", "b"], compute), ROWS)
    assert compute.calls == 1


def test_other_parts_are_another_array(tmp_path: Path) -> None:
    compute = Counted()
    for parts in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""]):
        EmbeddingCache(tmp_path).rows(parts, compute)
    assert compute.calls == 4


def test_parts_are_told_apart_wherever_they_are_cut() -> None:
    assert len({digest_of(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["a", "b", "c"])}) == 4


@pytest.mark.parametrize("damage", [b"", b"not a safetensors file"])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, damage: bytes) -> None:
    compute = Counted()
    EmbeddingCache(tmp_path).rows(["a"], compute)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    for _ in range(2):
        assert np.array_equal(EmbeddingCache(tmp_path).rows(["a"], compute), ROWS)
    assert compute.calls == 2
