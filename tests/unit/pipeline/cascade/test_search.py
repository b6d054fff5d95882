from __future__ import annotations

import itertools

import numpy as np

from service.pipeline.cascade.search import chain_cost, search, search_order
from service.pipeline.cascade.trace import AnswerTable
from tests.support.made_up_votes import Committee, committee

BUDGET = 0.03


def table_of(made: Committee) -> AnswerTable:
    return AnswerTable(made.combine, len(made.gflops), np.arange(made.images))


def test_no_order_of_four_is_better_than_the_one_that_is_found() -> None:
    made = committee(150, (2.0, 2.2, 3.0, 4.0), gflops=(1.0, 3.0, 4.0, 9.0))
    table = table_of(made)
    found = chain_cost(table, made.gflops, search_order(table, made.gflops, "margin", BUDGET), "margin", BUDGET)
    every = [
        chain_cost(table, made.gflops, [(member,) for member in order], "margin", BUDGET)
        for order in itertools.permutations(range(4))
    ]
    assert found <= min(every) + 1e-9
    assert found < 0.9 * max(every)


def test_a_useless_dear_member_is_asked_last() -> None:
    made = committee(300, (3.0, 0.0, 4.0), gflops=(1.0, 50.0, 2.0))
    made.logits[1] *= 0.01
    choice = search(table_of(made), made.gflops, BUDGET)
    assert choice.stages[-1] == (1,)
    assert choice.gflops[choice.exit_score] < 8.0


def test_of_equals_the_cheapest_comes_first_and_the_maximum_probability_is_taken() -> None:
    made = committee(100, (3.0,), gflops=(1.0,))
    twins = Committee(np.repeat(made.logits, 3, axis=0), made.labels, (4.0, 2.0, 1.0))
    choice = search(table_of(twins), twins.gflops, BUDGET)
    assert choice.stages[0] == (2,)
    assert choice.exit_score == "probability"
    assert choice.gflops["probability"] == 1.0


def test_the_cheaper_exit_score_is_taken() -> None:
    made = committee(400, (2.0, 3.0, 4.0), classes=8)
    choice = search(table_of(made), made.gflops, BUDGET)
    assert set(choice.gflops) == {"probability", "margin"}
    assert choice.gflops[choice.exit_score] == min(choice.gflops.values())


def test_given_stages_are_kept() -> None:
    made = committee(100)
    choice = search(table_of(made), made.gflops, BUDGET, ((2,), (0, 1)))
    assert choice.stages == ((2,), (0, 1))
    assert choice.gflops["margin"] >= made.gflops[2]


def test_one_backbone_is_an_order() -> None:
    made = committee(50, (2.0,))
    choice = search(table_of(made), made.gflops, BUDGET)
    assert (choice.stages, choice.gflops["probability"]) == (((0,),), 1.0)
