from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest

from service.errors import InvalidRequestError
from service.pipeline.cascade import calibration as cascade_calibration
from service.pipeline.cascade.calibration import (
    CalibrationSample,
    calibrate,
    images_needed,
    split,
    without_idle_stages,
)
from service.pipeline.cascade.cascade import NEVER, Cascade
from service.pipeline.cascade.choice import CalibrationRequest
from service.pipeline.cascade.learn_then_test import binomial_cdf
from service.pipeline.cascade.report import Calibrated
from service.pipeline.cascade.trace import replay
from tests.support.made_up_votes import Committee, Floats, committee, specialists

REQUEST = CalibrationRequest(epsilon=0.05, delta=0.1)


def calibrated(made: Committee, request: CalibrationRequest = REQUEST, *, labelled: bool = False) -> Calibrated:
    sample = CalibrationSample(made.digests, made.labels if labelled else None)
    return calibrate(made.combine, made.gflops, sample, request)


def test_a_calibrated_cascade_says_all_there_is_to_say() -> None:
    made = committee(600)
    cascade, report = (found := calibrated(made, labelled=True)).cascade, found.report
    assert cascade.leaves_early
    assert (report.chosen is not None and report.chosen.images, report.tested.images) == (300, 300)
    assert report.gflops_full == 7.0
    assert report.tested.gflops < 0.7 * 7.0
    assert sum(report.tested.exit_shares) == pytest.approx(1.0)
    assert len(report.tested.exit_shares) == len(cascade.stages)
    assert report.tested.disagreements <= report.tested.disagreements_allowed
    assert report.tested.p_value == binomial_cdf(report.tested.disagreements, 300, 0.05) <= 0.1
    assert report.message is None
    assert report.chosen is not None
    assert report.chosen.best_fixed.by == "labels"
    assert "choosing images" in report.chosen.exit_score_reason
    assert json.loads(json.dumps(asdict(report), allow_nan=False))["epsilon"] == 0.05


def test_what_is_reported_is_what_the_cascade_does_on_the_testing_part() -> None:
    made = committee(500, (2.0, 2.5, 3.0, 4.0))
    found = calibrated(made)
    testing = split(CalibrationSample(made.digests)).testing
    trace = replay(found.cascade, made.combine, testing)
    wrong, gflops = trace.outcome(found.cascade.thresholds)
    levels = trace.levels(found.cascade.thresholds)
    assert wrong == found.report.tested.disagreements
    assert gflops == pytest.approx(found.report.tested.gflops)
    shares = np.bincount(levels, minlength=len(found.cascade.stages)) / len(testing)
    assert found.report.tested.exit_shares == pytest.approx(tuple(shares))


def test_the_testing_part_chooses_nothing_but_the_step() -> None:
    made = committee(400)
    testing = split(CalibrationSample(made.digests)).testing
    other = Committee(made.logits.copy(), made.labels, made.gflops)
    other.logits[:, testing] = made.logits[:, testing[::-1]] * 0.5
    one, two = calibrated(made), calibrated(other)
    assert one.report.chosen == two.report.chosen
    assert one.report.tested != two.report.tested
    same = (one.cascade.router is None) == (two.cascade.router is None)
    assert same
    assert one.cascade.exit_score == two.cascade.exit_score


def test_calibration_is_the_same_every_time_and_in_every_order() -> None:
    made = committee(400)
    rows = np.random.default_rng(0).permutation(400)
    shuffled = CalibrationSample([made.digests[row] for row in rows])
    again = calibrate(made.sampled(rows), made.gflops, shuffled, REQUEST)
    first = calibrated(made)
    assert again.report == first.report
    assert replace(again.cascade, router=None) == replace(first.cascade, router=None)


def test_an_image_that_comes_twice_counts_once() -> None:
    made = committee(400)
    rows = np.concatenate([np.arange(400), np.arange(150)])
    sample = CalibrationSample([made.digests[row] for row in rows])
    doubled = calibrate(made.sampled(rows), made.gflops, sample, REQUEST)
    assert doubled.report == replace(calibrated(made).report, dropped_duplicates=150)


def test_images_of_the_fit_are_dropped_and_counted() -> None:
    made = committee(450)
    sample = CalibrationSample(made.digests, fitted=frozenset([*made.digests[:50], "image of something else"]))
    report = calibrate(made.combine, made.gflops, sample, REQUEST).report
    assert report.dropped_fitted == 50
    assert (report.chosen is not None and report.chosen.images, report.tested.images) == (200, 200)


def test_another_sample_splits_anew() -> None:
    halves = [set(split(CalibrationSample([f"{i}" for i in range(n)])).choosing) for n in (1000, 1001)]
    assert 400 < 1000 - len(halves[0] & halves[1]) < 850


@pytest.mark.parametrize(("epsilon", "delta", "needed"), [(0.05, 0.1, 89), (0.02, 0.1, 227), (0.5, 0.5, 2)])
def test_with_too_few_images_the_answer_says_how_many_it_takes(epsilon: float, delta: float, needed: int) -> None:
    assert images_needed(epsilon, delta) == needed
    request = CalibrationRequest(epsilon, delta)
    few = calibrated(committee(needed - 1), request)
    assert not few.cascade.leaves_early
    assert few.cascade.stages == ((0, 1, 2),)
    assert few.report.tested.step is None
    assert few.report.images_needed == needed
    assert f"at least {needed} distinct images" in str(few.report.message)
    assert calibrated(committee(needed), request).report.tested.step is not None


def test_no_images_at_all_are_too_few() -> None:
    found = calibrate(lambda _: np.empty((0, 3), dtype=np.float32), (1.0, 2.0), CalibrationSample([]), REQUEST)
    assert "0 came" in str(found.report.message)
    assert found.report.tested.gflops == 3.0


def test_members_that_contradict_each_other_hardly_let_anybody_leave() -> None:
    rng = np.random.default_rng(0)
    made = Committee(rng.normal(0, 1, (3, 300, 10)).astype(np.float32), rng.integers(0, 10, 300), (1.0, 2.0, 4.0))
    assert calibrated(made, CalibrationRequest(0.02, 0.1)).report.tested.gflops > 6.5


def test_nobody_leaves_when_every_step_beyond_the_first_fails() -> None:
    made = committee(300)
    parts = split(CalibrationSample(made.digests))
    # On the testing part alone the cheap members are wrong with confidence: nothing of the path can pass.
    made.logits[:2, parts.testing] = -8 * made.logits[2:, parts.testing]
    made.logits[2, parts.testing] *= 30
    found = calibrated(made)
    assert found.report.tested.step == 0
    assert len(found.cascade.stages) == 1
    assert found.report.tested.exit_shares == (1.0,)
    assert "are allowed: every image asks" in str(found.report.message)


def test_when_all_agree_everybody_leaves_at_once() -> None:
    made = committee(400, (3.0,))
    twins = Committee(np.repeat(made.logits, 4, axis=0), made.labels, (1.0, 2.0, 4.0, 8.0))
    found = calibrated(twins, labelled=True)
    assert found.report.tested.gflops == 1.0
    assert found.report.tested.exit_shares[0] == 1.0
    gap = found.report.tested.accuracy_gap
    assert gap is not None
    assert gap.observed == 0.0


def test_a_useless_dear_member_is_named_beside_the_best_fixed_one() -> None:
    made = committee(600, (3.0, 0.0, 4.0), gflops=(1.0, 100.0, 2.0))
    made.logits[1] *= 0.01
    report = calibrated(made, labelled=True).report
    assert report.tested.gflops < 10 < report.gflops_full
    assert report.chosen is not None
    assert (report.chosen.best_fixed.member, report.chosen.best_fixed.gflops) == (2, 2.0)


def test_the_best_fixed_backbone_is_the_one_that_is_named_or_agrees_most() -> None:
    made = committee(300)
    agreed = calibrated(made).report.chosen
    named = calibrated(made, replace(REQUEST, best_fixed=0)).report.chosen
    assert agreed is not None
    assert (agreed.best_fixed.member, agreed.best_fixed.by) == (2, "agreement")
    assert named is not None
    assert (named.best_fixed.member, named.best_fixed.by) == (0, "given")


def test_one_backbone_has_nobody_to_leave_out() -> None:
    found = calibrated(committee(200, (3.0,)))
    assert found.cascade.stages == ((0,),)
    assert found.report.tested.exit_shares == (1.0,)
    assert found.report.tested.disagreements == 0
    assert "one backbone" in str(found.report.message)


def test_two_backbones_need_no_router() -> None:
    found = calibrated(committee(400, (2.0, 4.0)))
    assert found.cascade.leaves_early
    assert found.report.chosen is not None
    assert "fewer than three" in found.report.chosen.routing_reason


def test_given_stages_are_kept_in_order() -> None:
    found = calibrated(committee(500), replace(REQUEST, stages=((1,), (0, 2))))
    assert found.cascade.stages == ((1,), (0, 2))
    assert found.report.chosen is not None
    assert found.report.chosen.routing_reason == "The stages were given."


def test_a_router_is_taken_where_members_are_specialists_and_the_saving_is_said() -> None:
    found = calibrated(specialists(1200))
    assert found.cascade.router is not None
    assert found.report.chosen is not None
    assert found.report.chosen.routing == "router"
    assert found.report.router_saving is not None
    assert found.report.router_saving > 0.1
    order = calibrated(specialists(1200), replace(REQUEST, routing=False))
    assert order.cascade.router is None
    assert order.report.router_saving is None
    assert found.report.tested.gflops < 0.9 * order.report.tested.gflops
    testing = split(CalibrationSample(specialists(1200).digests)).testing
    trace = replay(found.cascade, specialists(1200).combine, testing)
    assert trace.outcome(found.cascade.thresholds)[1] == pytest.approx(found.report.tested.gflops)


def test_with_labels_the_accuracy_gap_is_bounded_beside_the_disagreement() -> None:
    made = committee(2_000)
    gap = calibrated(made, labelled=True).report.tested.accuracy_gap
    assert gap is not None
    assert gap.observed == pytest.approx(gap.accuracy_full - gap.accuracy)
    assert gap.bound is not None
    assert gap.observed <= gap.bound <= 0.05
    assert calibrated(made).report.tested.accuracy_gap is None


def test_temperatures_are_fitted_to_labels_or_to_the_committee() -> None:
    made = committee(400)
    plain, labelled = calibrated(made), calibrated(made, labelled=True)
    assert plain.report.chosen is not None
    assert plain.report.chosen.temperatures_by == "committee"
    assert labelled.report.chosen is not None
    assert labelled.report.chosen.temperatures_by == "labels"
    assert plain.cascade.temperatures[-1] == 1.0
    assert labelled.cascade.temperatures[-1] != 1.0


def test_saturated_scores_that_tie_are_tested_as_they_are_used() -> None:
    made = committee(600)
    made.logits *= 1e4
    found = calibrated(made)
    trace = replay(found.cascade, made.combine, split(CalibrationSample(made.digests)).testing)
    assert trace.outcome(found.cascade.thresholds)[0] == found.report.tested.disagreements
    assert found.report.tested.disagreements <= found.report.tested.disagreements_allowed


def test_stages_that_nobody_leaves_are_asked_along_with_the_next() -> None:
    costs = (1.0, 2.0, 3.0, 4.0)
    idle = Cascade(costs, "margin", ((3,), (1,), (0,), (2,)), (NEVER, 0.5, NEVER), (1.0, 2.0, 3.0, 4.0))
    merged = without_idle_stages(idle)
    assert (merged.stages, merged.thresholds, merged.temperatures) == (((3, 1), (0, 2)), (0.5,), (2.0, 4.0))
    never = without_idle_stages(replace(idle, thresholds=(NEVER,) * 3))
    assert (never.stages, never.thresholds, never.temperatures) == (((3, 1, 0, 2),), (), (4.0,))


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (CalibrationRequest(0.0, 0.1), "epsilon"),
        (CalibrationRequest(0.05, 1.0), "delta"),
        (replace(REQUEST, stages=((0,), (1,))), "stages"),
        (replace(REQUEST, stages=((0, 1, 2), ())), "stages"),
        (replace(REQUEST, stages=((0, 1), (1, 2))), "stages"),
        (replace(REQUEST, best_fixed=3), "best_fixed"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_by_field(request_: CalibrationRequest, param: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        calibrated(committee(50), request_)
    assert error.value.param == param


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    made = committee(50)
    with pytest.raises(ValueError, match="labels of shape"):
        calibrate(made.combine, made.gflops, CalibrationSample(made.digests, made.labels[:-1]), REQUEST)
    with pytest.raises(ValueError, match="49 digests, but the committee answers 50"):
        calibrate(made.combine, made.gflops, CalibrationSample(made.digests[:-1]), REQUEST)
    with pytest.raises(ValueError, match="costs something"):
        calibrate(made.combine, (1.0, 0.0, 1.0), CalibrationSample(made.digests), REQUEST)


@pytest.mark.parametrize("label", [-1, 4])
def test_labels_that_are_no_class_are_refused(label: int) -> None:
    made = committee(200)
    made.labels[:] = label
    with pytest.raises(ValueError, match="labels are numbers from 0 to 3"):
        calibrated(made, labelled=True)


def test_logits_that_are_not_numbers_are_refused_in_either_part() -> None:
    made = committee(300)
    parts = split(CalibrationSample(made.digests))
    for rows in (parts.choosing, parts.testing):
        broken = Committee(made.logits.copy(), made.labels, made.gflops)
        broken.logits[:, rows[:2]] = np.nan
        with pytest.raises(ValueError, match="2 of 150 images logits that are not numbers"):
            calibrated(broken)


def test_the_choosing_part_sees_no_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    made = committee(300)
    parts = split(CalibrationSample(made.digests))

    def blind(members: Sequence[int]) -> Floats:
        logits = made.combine(members).copy()
        logits[parts.testing] = np.nan
        return logits

    monkeypatch.setattr(cascade_calibration, "examine", lambda plan, *_: (plan.cascade(0), plan))
    monkeypatch.setattr(cascade_calibration, "_report", lambda *_: None)
    found = calibrate(blind, made.gflops, CalibrationSample(made.digests), REQUEST)
    assert found.cascade.stages
