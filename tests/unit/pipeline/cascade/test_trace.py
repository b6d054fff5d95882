from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from service.pipeline.cascade.cascade import Cascade, Limits, Seen, Step, next_step, top_labels
from service.pipeline.cascade.router import PLAIN_FEATURES, Router
from service.pipeline.cascade.trace import (
    HIGHEST,
    LOWEST,
    AnswerTable,
    Trace,
    chain_masks,
    chain_trace,
    fit_temperature,
    replay,
)
from tests.support.made_up_votes import Committee, Floats, committee


def nll(logits: Floats, targets: np.ndarray, temperature: float) -> float:
    z = logits.astype(np.float64) / temperature
    return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), targets]).sum())


@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_labels_is_found(true_temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (4000, 6)).astype(np.float32)
    chances = np.exp(logits / true_temperature)
    chances /= chances.sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(true_temperature, rel=0.08)
    near = [nll(logits, labels, found * factor) for factor in (0.98, 1.0, 1.02)]
    assert near[1] < min(near[0], near[2])


def test_a_temperature_stays_within_its_bounds_and_finite() -> None:
    sure = np.tile(np.array([[9.0, 0.0, 0.0]], dtype=np.float32), (500, 1))
    right, wrong = np.zeros(500, dtype=np.int64), np.ones(500, dtype=np.int64)
    assert LOWEST <= fit_temperature(sure, right) < 2.0
    assert fit_temperature(sure, wrong) == pytest.approx(HIGHEST)
    assert fit_temperature(np.zeros((5, 3), dtype=np.float32), np.zeros(5, dtype=np.int64)) == pytest.approx(1.0)


def test_impossible_classes_do_not_spoil_a_temperature() -> None:
    logits = np.array([[0.0, -np.inf, -1.0], [-1.0, -np.inf, 0.0]] * 50, dtype=np.float32)
    assert np.isfinite(fit_temperature(logits, np.tile([0, 1], 50)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_numbers_are_refused_with_their_count(bad: float) -> None:
    made = committee(20)
    made.logits[1, 3:5] = bad
    table = AnswerTable(made.combine, 3, np.arange(20))
    with pytest.raises(ValueError, match=r"backbones \(1,\) give 2 of 20 images"):
        table[0b010]


def test_a_set_of_backbones_is_worked_out_once() -> None:
    made, asked = committee(30), list[tuple[int, ...]]()

    def counting(members: Sequence[int]) -> Floats:
        asked.append(tuple(members))
        return made.combine(members)

    table = AnswerTable(counting, 3, np.arange(10))
    table.view(np.arange(5))[0b101]
    table.view(np.arange(5, 10))[0b101]
    assert table[0b101].top.shape == (10,)
    assert asked.count((0, 2)) == 1


def test_a_view_keeps_the_answers_of_its_rows() -> None:
    table = AnswerTable(committee(30).combine, 3, np.arange(30))
    rows = np.array([4, 2, 9])
    view = table.view(rows)
    assert np.array_equal(view[0b011].scores["margin"], table[0b011].scores["margin"][rows])
    assert np.array_equal(view.wrong(0b001), table.wrong(0b001)[rows])
    assert np.array_equal(view.own_tops(0b101), table.own_tops(0b101)[rows])
    assert view[0b011].temperature == table[0b011].temperature


def test_without_labels_the_full_committee_keeps_temperature_one() -> None:
    made = committee(200)
    table = AnswerTable(made.combine, 3, np.arange(200))
    assert table[0b111].temperature == 1.0
    agreed = fit_temperature(made.combine((0,)), top_labels(made.combine((0, 1, 2))))
    assert table[0b001].temperature == pytest.approx(agreed)
    labelled = AnswerTable(made.combine, 3, np.arange(200), made.labels)
    assert labelled[0b111].temperature == pytest.approx(fit_temperature(made.combine((0, 1, 2)), made.labels))


def test_an_image_leaves_at_the_first_level_that_reaches_its_threshold() -> None:
    scores = np.array([[0.9, 0.2, 0.5], [0.1, 0.8, 0.5], [0.0, 0.0, 0.0]])
    wrong = np.array([[True, False, False], [False, True, False], [False, False, False]])
    costs = np.array([[1.0] * 3, [3.0] * 3, [7.0] * 3])
    trace = Trace(scores, wrong, costs, np.zeros((3, 3), dtype=np.int64))
    assert trace.levels((0.9, 0.8)).tolist() == [0, 1, 2]
    wrong_answers, gflops = trace.outcome((0.9, 0.8))
    assert wrong_answers == 2
    assert gflops == pytest.approx(11 / 3)
    assert trace.outcome((np.inf, np.inf)) == (0, 7.0)


def test_a_chain_costs_what_it_has_asked_and_ends_with_everyone() -> None:
    made = committee(20, gflops=(1.0, 10.0, 100.0))
    table = AnswerTable(made.combine, 3, np.arange(20))
    trace = chain_trace(table, made.gflops, chain_masks(((2,), (0,))), "probability")
    assert trace.gflops[:, 0].tolist() == [100.0, 101.0, 111.0]
    assert not trace.wrong[-1].any()
    assert np.array_equal(trace.top[0], made.combine((2,)).argmax(axis=1))


def walk(cascade: Cascade, made: Committee, image: int) -> tuple[int, tuple[int, ...], Step]:
    """One image through `next_step`, as the service takes it."""
    asked: tuple[int, ...] = ()
    seen: Seen | None = None
    while (step := next_step(cascade, asked, seen, Limits())).ask:
        asked += step.ask
        tops = {member: int(made.combine((member,))[image].argmax()) for member in asked}
        seen = Seen(made.combine(asked)[image], tops)
    assert seen is not None
    return int(top_labels(seen.logits[None])[0]), asked, step


def some_router(backbones: int) -> Router:
    rng = np.random.default_rng(5)
    shape = (1 << backbones, backbones, PLAIN_FEATURES + backbones)
    return Router(1, rng.standard_normal(shape).astype(np.float32), rng.uniform(0.5, 2.0, 1 << backbones))


CASCADES = {
    "in order": Cascade(
        (1.0, 2.0, 4.0, 8.0), "margin", ((2,), (0,), (3,), (1,)), (0.8, 0.5, 0.2), (1.0, 0.7, 1.3, 1.0)
    ),
    "in groups": Cascade((1.0, 2.0, 4.0, 8.0), "probability", ((1, 0), (3, 2)), (0.8,), (1.5, 1.0)),
    "routed": Cascade(
        (1.0, 2.0, 4.0, 8.0), "margin", ((0,), (1,), (2,), (3,)), (0.8, 0.6, 0.7), (1.0,) * 4, some_router(4)
    ),
}


@pytest.mark.parametrize("cascade", CASCADES.values(), ids=CASCADES.keys())
def test_what_is_replayed_in_a_batch_is_what_each_image_does_alone(cascade: Cascade) -> None:
    made = committee(150, (2.0, 2.5, 3.0, 4.0), classes=6)
    trace = replay(cascade, made.combine, np.arange(150))
    levels = trace.levels(cascade.thresholds)
    used = set()
    for image, level in enumerate(levels):
        top, asked, step = walk(cascade, made, image)
        assert (top, sum(cascade.gflops[member] for member in asked)) == (
            trace.top[level, image],
            trace.gflops[level, image],
        )
        assert step.exit_score == trace.scores[level, image]
        assert step.stages == level + 1
        used.add(asked)
    assert len(used) >= (2 if len(cascade.stages) == 2 else 4)
