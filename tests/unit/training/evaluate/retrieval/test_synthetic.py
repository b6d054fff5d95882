"""Synthetic items: mixtures that hang together over all backbones, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.evaluate.retrieval.made_up import pairs
from training.evaluate.retrieval.synthetic import BLOCK, NONE, Distractors, mixtures

pytestmark = pytest.mark.torch


def test_as_many_as_asked_for_in_blocks_and_the_same_each_time() -> None:
    pool = pairs(30, 1).pictures
    others = Distractors("scenes", {"text": BLOCK + 5}, {"text": pool})
    once, again = list(others.blocks("text")), list(others.blocks("text"))
    assert [len(block[0]) for block in once] == [BLOCK, 5]
    assert all(
        np.array_equal(a, b) for one, two in zip(once, again, strict=True) for a, b in zip(one, two, strict=True)
    )
    assert not np.array_equal(once[0][0][:5], once[1][0])
    assert not list(others.blocks("image"))
    assert not list(NONE.blocks("text"))


def test_they_are_unit_rows_between_the_same_two_items_for_every_backbone() -> None:
    pool = pairs(12, 1).pictures
    found = mixtures(pool, 200, np.random.default_rng(0))
    assert all(np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(200), abs=1e-5) for rows in found)
    nearest = [(rows @ real.T).argmax(axis=1) for rows, real in zip(found, pool, strict=True)]
    assert np.mean(nearest[0] == nearest[1]) > 0.7
    assert np.mean(nearest[1] == nearest[2]) > 0.7
    assert all((rows @ real.T).max() < 0.99999 for rows, real in zip(found, pool, strict=True)), "nobody's own"


def test_one_item_has_nothing_to_be_mixed_with() -> None:
    with pytest.raises(ValueError, match="no second one"):
        mixtures(pairs(1, 1).pictures, 3, np.random.default_rng(0))
