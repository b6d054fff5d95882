"""Exact search by weighed committees, against the plain way."""

from __future__ import annotations

import numpy as np
import pytest

from service.pipeline.controller.controller import Controller, committee_logits
from service.pipeline.logits import softmax
from service.pipeline.retrieval.query_vectors import CANDIDATES, confidence
from service.pipeline.shipped.retrieval_file import QUERY_KINDS
from service.policies import QueryKind
from tests.unit.training.evaluate.retrieval.made_up import NAMES, WIDTHS, pairs
from training.evaluate.retrieval.pairs import NOBODYS, SearchTask
from training.evaluate.retrieval.search import alike, folded, folding_error, opinions_of, search
from training.evaluate.statistics import any_hits_at_k, hits_at_k

pytestmark = pytest.mark.torch


def network(seed: int = 0) -> Controller:
    """Random weights over the made-up backbones, in the order of their names."""
    generator = np.random.default_rng(seed)
    order = np.argsort(NAMES)
    names, widths = tuple(NAMES[i] for i in order), tuple(WIDTHS[i] for i in order)
    shapes = ((5, sum(widths)), (5,), (3, 5), (3,))
    w1, c1, w2, c2 = (generator.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return Controller(names, widths, w1, c1, w2, c2)


def plain_scores(task: SearchTask, opinions: np.ndarray) -> np.ndarray:
    """float64[n, m], the weighted sum of cosines, backbone by backbone."""
    scaled = opinions.astype(np.float64) * task.scales[:, None]
    weights = scaled / scaled.sum(axis=0)
    parts = zip(weights, task.queries, task.items, strict=True)
    return np.asarray(sum(own[:, None] * (queries @ items.T) for own, queries, items in parts))


@pytest.mark.parametrize("kind", QUERY_KINDS)
def test_hits_are_those_of_the_weighted_sum_of_cosines(kind: QueryKind) -> None:
    task = pairs(60, 3).task(kind)
    opinions = opinions_of(network(), task, NAMES)
    found, scores = search(task, NAMES, opinions), plain_scores(task, opinions)
    for k in (1, 5, 10):
        expected = hits_at_k(scores, task.asking, k) if kind == "text" else any_hits_at_k(scores, task.owner, k)
        assert np.array_equal(found.hits(k), expected)
        assert 0 < expected.sum() < len(expected)


@pytest.mark.parametrize("kind", QUERY_KINDS)
@pytest.mark.parametrize("pictures", [10, 90], ids=["fewer items than candidates", "more"])
def test_the_confidence_is_the_gateways_on_the_committees_logits(kind: QueryKind, pictures: int) -> None:
    task = pairs(pictures, 2).task(kind)
    opinions = opinions_of(network(), task, NAMES)
    found = search(task, NAMES, opinions)
    logits = np.stack(
        [queries @ items.T * scale for queries, items, scale in zip(task.queries, task.items, task.scales, strict=True)]
    )
    together = committee_logits(opinions, logits)
    scores = np.sort(plain_scores(task, opinions), axis=1)[:, ::-1]
    sharpness = (opinions * task.scales[:, None]).mean(axis=0)
    for query in range(len(task.asking)):
        gateways = confidence(scores[query].tolist(), float(sharpness[query]))
        assert found.confidence[query] == pytest.approx(gateways, rel=1e-4)
        best = np.sort(together[query])[::-1][:CANDIDATES]
        assert found.confidence[query] == pytest.approx(softmax(best)[0], rel=1e-4)


@pytest.mark.parametrize("kind", QUERY_KINDS)
def test_blocks_of_others_are_as_one_larger_gallery(kind: QueryKind) -> None:
    task, other = pairs(50, 2).task(kind), pairs(80, 2, seed=1).task(kind)
    opinions = opinions_of(network(), task, NAMES)
    blocks = [[rows[start : start + 33] for rows in other.items] for start in range(0, len(other.owner), 33)]
    in_blocks = search(task, NAMES, opinions, blocks)
    items = tuple(np.concatenate(both) for both in zip(task.items, other.items, strict=True))
    owner = np.concatenate([task.owner, np.full(len(other.owner), NOBODYS)])
    larger = SearchTask(kind, "larger", NAMES, task.scales, task.queries, items, task.asking, owner)
    at_once = search(larger, NAMES, opinions)
    assert np.array_equal(in_blocks.ranks, at_once.ranks)
    assert in_blocks.confidence == pytest.approx(at_once.confidence, rel=1e-5)
    assert (in_blocks.ranks > search(task, NAMES, opinions).ranks).any()


def test_ties_count_against_the_query() -> None:
    made = pairs(5, 1)
    flat = tuple(np.ones_like(rows) / np.sqrt(rows.shape[1]) for rows in made.pictures)
    task = made.task("text")
    same = SearchTask("text", "flat", NAMES, task.scales, task.queries, flat, task.asking, task.owner)
    assert search(same, NAMES, alike(same, NAMES)).ranks.tolist() == [4] * 5


def test_one_backbone_alone_is_searched_by_its_own_cosines() -> None:
    task = pairs(40, 2).task("text")
    alone = search(task, ["good"], alike(task, ["good"]))
    assert np.array_equal(alone.hits(1), hits_at_k(task.queries[1] @ task.items[1].T, task.asking, 1))


def test_a_prefix_is_weighed_as_the_gateway_weighs_whoever_is_there() -> None:
    task = pairs(30, 2).task("text")
    both = opinions_of(network(), task, ["cheap", "good"])
    assert both.shape == (2, 60)
    assert not np.allclose(both, opinions_of(network(), task, NAMES)[:2]), "the third one's part of the input is zero"


@pytest.mark.parametrize("kind", QUERY_KINDS)
def test_the_gateways_folded_query_is_the_weighted_sum(kind: QueryKind) -> None:
    task = pairs(50, 3).task(kind)
    opinions = opinions_of(network(), task, NAMES)
    assert 0 < folding_error(task, opinions) < 1e-6
    vectors = folded(np.full((3, 2), 0.5, np.float32), [rows[:2] for rows in task.queries])
    assert vectors == pytest.approx(np.concatenate([rows[:2] for rows in task.queries], axis=1) / 2)
