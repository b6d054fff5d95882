"""Prefix and thresholds: the cheapest that loses little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from service.pipeline.controller.controller import Controller, static_controller
from service.pipeline.shipped.retrieval_file import QUERY_KINDS
from service.policies import QueryKind
from tests.unit.training.evaluate.retrieval.made_up import NAMES, NOISE, WIDTHS, pairs
from training.evaluate.retrieval.choice import (
    ALWAYS,
    MOST_GFLOPS,
    MOST_LOST,
    QUANTILES,
    CascadeChoice,
    Stages,
    best_of,
    choose,
    mean_of,
    option_of,
    options_of,
    quantiles,
    share_of,
)
from training.evaluate.retrieval.pairs import Pairs
from training.evaluate.retrieval.search import Searched, alike, opinions_of, search

pytestmark = pytest.mark.torch

GFLOPS: dict[QueryKind, dict[str, float]] = {
    "text": {"cheap": 1.0, "good": 3.0, "bad": 6.0},
    "image": {"cheap": 0.5, "good": 2.0, "bad": 7.5},
}
TRUSTING: Controller = static_controller(NAMES, WIDTHS, np.array([0.5, 3.0, -8.0], np.float32))
"""Knows that the dearest backbone is worth nothing."""


def chosen(sources: Sequence[Pairs], controller: Controller = TRUSTING) -> CascadeChoice:
    tasks = {kind: [each.task(kind) for each in sources] for kind in QUERY_KINDS}
    return choose(tasks, dict.fromkeys(QUERY_KINDS, controller), GFLOPS)


def stages(source: Pairs, kind: QueryKind, prefix: tuple[str, ...] = ("cheap",)) -> Stages:
    task = source.task(kind)
    first, full = (search(task, names, opinions_of(TRUSTING, task, names)) for names in (prefix, NAMES))
    return Stages(task, first, full)


def test_a_backbone_that_adds_nothing_is_left_out_of_the_first_search() -> None:
    found = chosen([pairs(200, 2), pairs(150, 3, source="icons", seed=1)])
    assert found.prefix == ("good",)
    assert found.loses_little
    for kind in QUERY_KINDS:
        judged = found.judged[kind]
        assert judged.lost <= MOST_LOST
        first = share_of(found.prefix, GFLOPS[kind])
        assert judged.gflops_share == pytest.approx(first + judged.escalated * (1 - first))
    assert found.gflops_share < 0.7
    assert found == chosen([pairs(200, 2), pairs(150, 3, source="icons", seed=1)])


def test_where_nothing_qualifies_everybody_answers_everything() -> None:
    """The prefix finds nothing and the committee everything: even the surest twentieth is too much to lose."""
    found = best_of(("cheap",), {kind: [hopeless(kind)] for kind in QUERY_KINDS}, GFLOPS)
    assert dict(found.thresholds) == {"text": ALWAYS, "image": ALWAYS}
    assert found.gflops_share == pytest.approx(1.0)
    assert (found.lost, found.standard_error) == (0.0, 0.0)
    assert all(judged.escalated == 1 for judged in found.judged.values())


def test_one_kind_does_not_pay_for_the_other() -> None:
    """Half a point lost on average, all of it by one kind of query."""
    gaining = hopeless("text", first=0, full=99)
    found = best_of(("cheap",), {"text": [gaining], "image": [hopeless("image")]}, GFLOPS)
    assert found.thresholds["image"] == ALWAYS
    assert found.judged["text"].escalated == 0


def hopeless(kind: QueryKind, first: int = 99, full: int = 0) -> Stages:
    """Stages whose queries all have one rank in the first and another in the second search."""
    task = pairs(100, 2).task(kind)
    count = len(task.asking)
    sure = np.random.default_rng(0).uniform(0, 0.9, count).astype(np.float32)
    return Stages(task, Searched(np.full(count, first), sure), Searched(np.full(count, full), sure))


def test_nothing_that_was_tried_and_is_cheaper_loses_little() -> None:
    source = pairs(120, 2)
    found = chosen([source])
    for prefix in (("cheap",), ("good",), ("bad",), ("cheap", "good")):
        by_kind = [options_of([stages(source, kind, prefix)], share_of(prefix, GFLOPS[kind])) for kind in QUERY_KINDS]
        for text in by_kind[0]:
            for image in by_kind[1]:
                shares = (text.judged.gflops_share + image.judged.gflops_share) / 2
                pictures = (text.differences[0] + image.differences[0]) / 2
                error = pictures.std(ddof=1) / np.sqrt(len(pictures))
                little = pictures.mean() + error <= MOST_LOST
                if little and max(text.judged.lost, image.judged.lost) <= MOST_LOST:
                    dear = max(text.judged.gflops_share, image.judged.gflops_share) > MOST_GFLOPS
                    assert (dear, shares + 1e-12) >= found.order


def test_escalated_queries_are_answered_by_everybody_and_the_others_by_the_prefix() -> None:
    found = stages(pairs(50, 2), "text")
    threshold = float(np.median(found.first.confidence))
    escalated = found.escalates(threshold)
    assert 0 < escalated.sum() < len(escalated)
    hits = found.hits(threshold, 10)
    assert np.array_equal(hits[escalated], found.full.hits(10)[escalated])
    assert np.array_equal(hits[~escalated], found.first.hits(10)[~escalated])
    assert found.escalates(ALWAYS).all()
    assert not found.escalates(0.0).any()


def test_quantiles_weigh_sources_and_pictures_alike() -> None:
    small, large = stages(pairs(10, 1), "text"), stages(pairs(300, 3, seed=2), "text")
    sure = Stages(small.task, Searched(small.first.ranks, np.full(10, 0.9, np.float32)), small.full)
    unsure = Stages(large.task, Searched(large.first.ranks, np.full(900, 0.1, np.float32)), large.full)
    found = quantiles([sure, unsure])
    assert found == pytest.approx([0.1 if quantile < 0.5 else 0.9 for quantile in QUANTILES])


def test_quantiles_share_the_queries_out() -> None:
    found = stages(pairs(100, 2), "text")
    shares = [found.escalates(threshold).mean() for threshold in quantiles([found])]
    assert shares == pytest.approx(QUANTILES, abs=0.01)


def test_queries_of_one_picture_count_as_one() -> None:
    """Captions that all say the same give no more certainty than one of them."""
    differences = np.array([1.0, 0.0, 0.0, -1.0, 1.0])
    lost, error = mean_of([differences])
    assert lost == pytest.approx(0.2)
    assert error == pytest.approx(differences.std(ddof=1) / np.sqrt(5))
    task = pairs(5, 4).task("text")
    owner = task.asking
    first = Searched(np.where(differences[owner] > 0, 99, 0), np.zeros(20, np.float32))
    full = Searched(np.where(differences[owner] < 0, 99, 0), np.zeros(20, np.float32))
    judged = option_of([Stages(task, first, full)], 0.0, 0.1).judged
    assert (judged.lost, judged.standard_error) == pytest.approx((lost, error))
    assert mean_of([differences, np.zeros(50)]) == pytest.approx((lost / 2, error / 2))


def test_one_backbone_makes_no_cascade() -> None:
    made = pairs(10, 1, noise=NOISE)
    task = made.task("text")
    assert alike(task, ["good"]).shape == (1, 10)
    only = {kind: [_narrow(made).task(kind)] for kind in QUERY_KINDS}
    with pytest.raises(ValueError, match="two backbones"):
        choose(only, dict.fromkeys(QUERY_KINDS, TRUSTING), GFLOPS)


def _narrow(made: Pairs) -> Pairs:
    return Pairs(
        made.source,
        made.novelty,
        made.rows,
        made.names[:1],
        made.scales[:1],
        made.pictures[:1],
        made.captions[:1],
        made.owner,
    )
