"""The promise, put to the test: sets drawn with replacement from a large pool, the risk measured on all of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from service.pipeline.cascade import calibration as cascade_calibration
from service.pipeline.cascade.calibration import CalibrationSample, Parts, calibrate, split
from service.pipeline.cascade.choice import CalibrationRequest
from service.pipeline.cascade.learn_then_test import Certificate, last_passing
from service.pipeline.cascade.trace import replay
from tests.support.made_up_votes import Committee, committee, specialists

EPSILON, DELTA = 0.05, 0.1
SETS, MOST_BROKEN = 200, 27
"""A promise that is kept in nine of ten cases breaks more often than that in 4 % of such experiments."""
IMAGES = 200
ORDER = CalibrationRequest(EPSILON, DELTA, stages=((0,), (1,), (2,), (3,), (4,)))


@cache
def pool() -> Committee:
    return committee(6_000, (1.5, 2.0, 2.5, 3.0, 4.0))


def broken_promises(request: CalibrationRequest, made: Committee, images: int) -> tuple[int, float, int]:
    """In how many of the sets the cascade disagrees too often, its mean cost as a share of the full committee's, and in
    how many sets a router was taken."""
    rng, digests, everything = np.random.default_rng(0), np.array(made.digests), np.arange(made.images)
    broken, costs, routed = 0, [], 0
    for _ in range(SETS):
        rows = rng.integers(0, made.images, images)
        found = calibrate(made.sampled(rows), made.gflops, CalibrationSample(digests[rows].tolist()), request)
        wrong, gflops = replay(found.cascade, made.combine, everything).outcome(found.cascade.thresholds)
        broken += wrong > EPSILON * made.images
        costs.append(gflops / sum(made.gflops))
        routed += found.cascade.router is not None
    return broken, float(np.mean(costs)), routed


def test_the_promise_is_kept_with_order_exit_score_and_router_searched() -> None:
    made = specialists(6_000, noise=1.5)
    broken, cost, routed = broken_promises(CalibrationRequest(EPSILON, DELTA), made, 240)
    assert broken <= MOST_BROKEN
    assert cost < 0.85
    assert 20 < routed < SETS - 20


def test_the_promise_is_kept_along_a_given_order() -> None:
    broken, cost, _ = broken_promises(ORDER, pool(), IMAGES)
    assert broken <= MOST_BROKEN
    assert cost < 0.8


def test_the_promise_is_kept_by_saturated_scores_full_of_ties() -> None:
    made = committee(6_000)
    made.logits = np.round(made.logits * 2) * 50
    broken, _, _ = broken_promises(CalibrationRequest(EPSILON, DELTA, stages=((0,), (1,), (2,))), made, IMAGES)
    assert broken <= MOST_BROKEN


def one_step_too_far(errors: Sequence[int], trials: int, epsilon: float, delta: float) -> Certificate:
    """The defect of a published implementation: the first setting that fails is used."""
    found = last_passing(errors, trials, epsilon, delta)
    step = min((-1 if found.step is None else found.step) + 1, len(errors) - 1)
    return Certificate(step, errors[step], 1.0, found.allowed)


def observed_rate(errors: Sequence[int], trials: int, epsilon: float, delta: float) -> Certificate:
    """No test at all: the last setting that was not seen to err too often."""
    del delta
    step = max(j for j, count in enumerate(errors) if count <= epsilon * trials)
    return Certificate(step, errors[step], 1.0, int(epsilon * trials))


def on_the_choosing_part(sample: CalibrationSample) -> Parts:
    """The path is tested on the images that it was made from."""
    parts = split(sample)
    return Parts(parts.choosing, parts.choosing, parts.dropped_duplicates, parts.dropped_fitted)


@pytest.mark.parametrize(
    ("name", "defect"),
    [
        ("last_passing", one_step_too_far),
        ("last_passing", observed_rate),
        ("split", on_the_choosing_part),
    ],
)
def test_a_defect_breaks_the_promise(name: str, defect: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade_calibration, name, defect)
    broken, _, _ = broken_promises(ORDER, pool(), IMAGES)
    assert broken > MOST_BROKEN
