from __future__ import annotations

import itertools

import numpy as np
import pytest

from service.pipeline.cascade.router_fit import Comparison, compare, learn
from service.pipeline.cascade.search import search
from service.pipeline.cascade.threshold_path import PRICES, cost_at, outcomes, prices
from service.pipeline.cascade.trace import AnswerTable, route_trace, routes
from tests.support.made_up_votes import Committee, committee, specialists

BUDGET = 0.02


def table_of(made: Committee, images: int | None = None) -> AnswerTable:
    return AnswerTable(made.combine, len(made.gflops), np.arange(images or made.images))


def test_a_router_learns_whom_to_ask_from_what_the_first_one_saw() -> None:
    made = specialists(600)
    table = table_of(made, 300)
    choice = search(table, made.gflops, BUDGET)
    router, path = learn(table, made.gflops, choice, prices(300, sum(made.gflops), PRICES), BUDGET)
    assert router.first == 0
    fresh = table_of(made)
    second = routes(fresh, router)[1, 300:]
    knows = np.where(np.abs(made.logits[1, 300:]).max(axis=1) > 5, 0b011, 0b101)
    assert (second == knows).mean() > 0.97
    cost = cost_at(*outcomes(route_trace(fresh, made.gflops, router, choice.exit_score), path), BUDGET)
    assert cost == pytest.approx(9.0, abs=0.5)


def test_the_comparison_finds_the_router_cheaper_where_members_are_specialists() -> None:
    made = specialists(300)
    table = table_of(made)
    found = compare(table, made.gflops, search(table, made.gflops, BUDGET), BUDGET)
    assert found.router_wins
    assert found.saving > 0.15


def test_the_comparison_stays_with_the_order_where_nothing_can_be_seen() -> None:
    won = 0
    for seed in range(5):
        made = committee(200, (2.0, 3.0, 4.0), seed=seed)
        table = table_of(made)
        won += compare(table, made.gflops, search(table, made.gflops, BUDGET), BUDGET).router_wins
    assert won <= 1


def test_a_router_has_an_answer_for_every_set() -> None:
    made = committee(150, (2.0, 2.5, 3.0, 4.0))
    table = table_of(made)
    choice = search(table, made.gflops, BUDGET)
    router, _ = learn(table, made.gflops, choice, prices(150, sum(made.gflops), 20), BUDGET)
    for mask in range(1, 15):
        assert np.abs(router.weights[mask]).sum() > 0
        assert router.temperatures[mask] == table[mask].temperature
    ways = routes(table, router)
    assert (ways[-1] == 0b1111).all()
    assert all((before & after == before).all() for before, after in itertools.pairwise(ways))


def test_a_router_is_the_same_every_time() -> None:
    made = committee(150)
    choice = search(table_of(made), made.gflops, BUDGET)
    one, two = (learn(table_of(made), made.gflops, choice, prices(150, 7.0, 20), BUDGET)[0] for _ in range(2))
    assert np.array_equal(one.weights, two.weights)


def test_a_dearer_router_does_not_win() -> None:
    assert not Comparison(10.0, 9.9).router_wins
    assert Comparison(10.0, 9.0).router_wins
    assert Comparison(10.0, 12.0).saving == pytest.approx(-0.2)
