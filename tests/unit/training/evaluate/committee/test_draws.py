"""Which labelled pictures a method may learn from."""

from __future__ import annotations

import numpy as np

from training.evaluate.committee.draws import draw

TRUTH = np.array([0] * 10 + [1] * 3 + [2] * 10)


def test_every_class_gives_the_shots_or_all_that_it_has() -> None:
    drawn = draw("task", TRUTH, 4, 4, seed=0)
    assert np.bincount(TRUTH[drawn.positions], minlength=4).tolist() == [4, 3, 4, 0]
    assert drawn.without == 1
    assert drawn.per_class == 11 / 4


def test_fewer_shots_are_a_part_of_more() -> None:
    few, many = (set(draw("task", TRUTH, 3, shots, seed=1).positions.tolist()) for shots in (2, 8))
    assert few < many


def test_another_seed_and_another_task_draw_otherwise() -> None:
    drawn = {tuple(draw(name, TRUTH, 3, 3, seed).positions) for name in ("one", "two") for seed in range(3)}
    assert len(drawn) == 6


def test_a_draw_counts_where_half_of_the_shots_are_there() -> None:
    assert draw("task", np.array([0, 0, 1, 1]), 2, 4, 0).usable
    assert not draw("task", np.array([0, 0, 1]), 2, 4, 0).usable


def test_nothing_is_drawn_from_nothing() -> None:
    drawn = draw("task", np.zeros(0, dtype=np.int64), 3, 1, 0)
    assert (len(drawn.positions), drawn.without, drawn.usable) == (0, 3, False)
