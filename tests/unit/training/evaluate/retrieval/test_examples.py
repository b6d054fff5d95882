"""Examples for the ladder from pictures with captions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.pipeline.controller.examples import Examples
from service.pipeline.shipped.retrieval_file import QUERY_KINDS
from service.policies import QueryKind
from tests.unit.training.evaluate.retrieval.made_up import NAMES, pairs
from training.data.rows import DataError
from training.evaluate.retrieval.examples import retrieval_examples
from training.evaluate.retrieval.pairs import Pairs

pytestmark = pytest.mark.torch


def same(one: Examples, other: Examples) -> bool:
    pairwise = zip((one.logits, *one.embeddings), (other.logits, *other.embeddings), strict=True)
    return (
        one.digests == other.digests
        and np.array_equal(one.truth, other.truth)
        and all(np.array_equal(a, b) for a, b in pairwise)
    )


@pytest.mark.parametrize("kind", QUERY_KINDS)
def test_every_caption_is_an_example_with_its_own_among_the_candidates(kind: QueryKind) -> None:
    made = pairs(30, 3)
    examples = retrieval_examples([made], kind, seed=0, classes=12)
    assert examples.backbones == tuple(sorted(NAMES))
    assert (len(examples), examples.classes) == (90, 12)
    queries, items = (made.captions, made.pictures) if kind == "text" else (made.pictures, made.captions)
    own = made.owner if kind == "text" else None
    for place, name in enumerate(examples.backbones):
        number = NAMES.index(name)
        for row in range(len(examples)):
            (query, *_) = np.flatnonzero((queries[number] == examples.embeddings[place][row]).all(axis=1))
            cosines = items[number] @ queries[number][query] * made.scales[number]
            places = [int(np.abs(cosines - logit).argmin()) for logit in examples.logits[row, place]]
            assert examples.logits[row, place] == pytest.approx(cosines[places], abs=1e-4)
            assert len(set(places)) == 12, "no candidate is there twice"
            truth = places[examples.truth[row]]
            assert (truth if own is not None else made.owner[truth]) == (own[query] if own is not None else query)


def test_an_image_query_chooses_among_captions_of_the_same_number() -> None:
    """Pictures with one caption cannot stand among second captions, and there are too few third ones to choose from."""
    made = pairs(20, [3] * 4 + [2] * 10 + [1] * 6)
    examples = retrieval_examples([made], "image", seed=0, classes=10)
    assert len(examples) == 20 + 14


def test_the_truth_stands_anywhere() -> None:
    truth = retrieval_examples([pairs(60, 2)], "text", seed=0, classes=10).truth
    assert np.bincount(truth, minlength=10).min() >= 4


def test_the_same_rows_and_seed_give_the_same_examples_whatever_their_order() -> None:
    one, other = pairs(20, 2), pairs(25, 3, source="icons", seed=1)
    for kind in QUERY_KINDS:
        examples = retrieval_examples([one, other], kind, seed=3, classes=10)
        assert same(examples, retrieval_examples([other, one], kind, seed=3, classes=10))
        assert same(examples, retrieval_examples([turned(one), other], kind, seed=3, classes=10))
        assert not same(examples, retrieval_examples([one, other], kind, seed=4, classes=10))


def turned(made: Pairs) -> Pairs:
    """The same pictures, the last one first; two captions each."""
    captions = np.arange(len(made.owner)).reshape(-1, 2)[::-1].ravel()
    return replace(
        made,
        rows=made.rows[::-1],
        pictures=tuple(rows[::-1] for rows in made.pictures),
        captions=tuple(rows[captions] for rows in made.captions),
    )


def test_the_smallest_source_decides_how_many_candidates_there_are() -> None:
    examples = retrieval_examples([pairs(30, 2), pairs(7, 2, source="icons")], "text", seed=0)
    assert (examples.classes, len(examples)) == (7, 74)


def test_a_picture_that_is_there_twice_counts_once() -> None:
    made = pairs(10, 2)
    twice = replace(made, rows=(*made.rows[:9], made.rows[0]))
    assert len(retrieval_examples([twice], "text", seed=0)) == 18
    assert retrieval_examples([twice], "image", seed=0).classes == 9


def test_one_picture_leaves_nothing_to_choose_from() -> None:
    with pytest.raises(DataError, match="two pictures"):
        retrieval_examples([pairs(1, 5)], "text", seed=0)
