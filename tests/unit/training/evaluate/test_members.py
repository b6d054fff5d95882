"""Backbones as the evaluation asks them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.repository import load_zoo
from tests.support.repository import write_repository
from training.data.samples import decode_rows
from training.data.sources import read_rows
from training.evaluate.embedder import open_backbone
from training.evaluate.members import Pictures, open_members

pytestmark = pytest.mark.torch


def test_embeddings_are_those_of_the_exported_towers_and_are_kept(small_data: Path, tmp_path: Path) -> None:
    zoo = load_zoo(write_repository(tmp_path / "repository"))
    rows = list(read_rows(small_data, ("things",)))[:7]
    for member, backbone in zip(open_members(zoo, tmp_path / "cache"), zoo.backbones, strict=True):
        embedder = open_backbone(backbone)
        expected = embedder.images(decode_rows(rows, backbone.preprocessing).images)
        assert np.array_equal(member.images(Pictures(rows)), expected)
        assert np.array_equal(member.texts(["a cat", "a dog", "a cat"]), embedder.texts(["a cat", "a dog", "a cat"]))
    for member in open_members(zoo, tmp_path / "cache"):
        member.images(Pictures(rows))
        member.texts(["a cat", "a dog", "a cat"])
        assert "embedder" not in vars(member), "the towers were opened though everything was known"


def test_other_pictures_are_embedded_anew(small_data: Path, tmp_path: Path) -> None:
    zoo = load_zoo(write_repository(tmp_path / "repository"))
    rows = list(read_rows(small_data, ("things",)))
    (member, _) = open_members(zoo, tmp_path / "cache")
    first, second = member.images(Pictures(rows[:3])), member.images(Pictures(rows[1:4]))
    assert np.array_equal(first[1:], second[:2])
    assert not np.array_equal(first, second)
