"""One retrieval set measured."""

from __future__ import annotations

import numpy as np
import pytest

from service.pipeline.shipped.retrieval_file import QUERY_KINDS
from tests.unit.training.evaluate.retrieval.made_up import NAMES, pairs
from tests.unit.training.evaluate.retrieval.made_up_report import GFLOPS, file, report
from training.evaluate.retrieval.measure import measure_set, search_all
from training.evaluate.retrieval.report import COMMITTEES, COMPARISONS, RECALL_AT, K
from training.evaluate.retrieval.synthetic import NONE

pytestmark = pytest.mark.torch


def test_recall_is_the_share_of_queries_and_pictures_count_the_same() -> None:
    """With captions of other numbers a picture of many captions counts no more than one of few."""
    made = pairs(30, [1] * 15 + [5] * 15)
    shipped = file()
    found = measure_set(made, shipped, GFLOPS)
    text = found.directions[0]
    assert (text.queries, text.items, text.synthetic) == (90, 30, 0)
    everyone = search_all(made.task("text"), shipped, NONE)
    for k in RECALL_AT:
        hits = everyone.stages.full.hits(k)
        expected = np.mean([hits[made.owner == picture].mean() for picture in range(30)])
        assert text.committees["nlc"].recall[k].value == pytest.approx(expected)


def test_costs_are_those_of_whoever_embeds_the_query() -> None:
    for direction in report().sets[0].directions:
        costs = GFLOPS[direction.kind]
        full = sum(costs.values())
        assert {name: found.gflops for name, found in direction.backbones.items()} == costs
        assert all(direction.committees[name].gflops == full for name in COMMITTEES if name != "cascade")
        first = costs["cheap"] + costs["good"]
        cascade = direction.committees["cascade"]
        assert 0 < direction.escalated.value < 1
        assert cascade.gflops == pytest.approx(first + direction.escalated.value * (full - first))
        assert cascade.gflops_share == pytest.approx(cascade.gflops / full)


def test_gains_are_differences_of_the_recalls_that_are_shown() -> None:
    for direction in report().sets[0].directions:
        for k in RECALL_AT:
            recalls = {name: found.recall[k].value for name, found in direction.committees.items()}
            singles = {name: found.recall[k].value for name, found in direction.backbones.items()}
            recalls["best"] = singles[direction.best[k]]
            assert recalls["best"] == max(singles.values())
            for one, other in COMPARISONS:
                gain = direction.gain(one, other, k)
                assert gain.value == pytest.approx(recalls[one] - recalls[other])
                assert gain.low <= gain.value <= gain.high


def test_the_curve_ends_at_the_prefix_and_at_the_committee() -> None:
    for direction in report().sets[0].directions:
        first, last = direction.curve[0], direction.curve[-1]
        assert first.escalated == 0
        assert last.escalated == pytest.approx(1)
        assert last.gflops_share == pytest.approx(1)
        assert last.recall == pytest.approx(direction.committees["nlc"].recall[K].value)
        shares = [point.gflops_share for point in direction.curve]
        assert shares == sorted(shares)


def test_thresholds_decide_who_answers() -> None:
    made = pairs(40, 2)
    never, always = (measure_set(made, file(thresholds=(each, each)), GFLOPS) for each in (0.0, 1.0))
    for sure, unsure in zip(never.directions, always.directions, strict=True):
        assert sure.escalated.value == 0
        assert unsure.committees["cascade"].recall == unsure.committees["nlc"].recall
        assert unsure.gain("cascade", "nlc").value == 0


def test_weights_are_shares_of_the_score() -> None:
    for direction in report().sets[0].directions:
        assert sum(direction.weights.values()) == pytest.approx(1)
        assert list(direction.weights) == list(NAMES)
        assert max(direction.weights, key=lambda name: direction.weights[name]) == "good"


def test_a_larger_gallery_is_harder() -> None:
    made = report()
    own, larger = made.sets[0], made.sets[2]
    assert (own.synthetic, larger.synthetic) == (False, True)
    assert len(own.directions) == len(QUERY_KINDS)
    for small, large in zip(own.directions, larger.directions, strict=True):
        assert large.items == 300
        assert large.queries == small.queries
        assert large.committees["nlc"].recall[1].value < small.committees["nlc"].recall[1].value
