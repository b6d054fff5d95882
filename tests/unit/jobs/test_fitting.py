"""What a calibration is told as: backbones by name, and numbers that fit into JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from service.jobs.fitting import told
from service.pipeline.cascade.calibration import CalibrationSample, calibrate
from service.pipeline.cascade.cascade import NEVER, Cascade
from service.pipeline.cascade.choice import CalibrationRequest
from service.pipeline.cascade.report import Calibrated
from service.pipeline.cascade.router import PLAIN_FEATURES, Router
from tests.support.made_up_votes import committee

NAMES = ("tiny", "middle", "huge")
COSTS = (0.25, 0.5, 2.0)
ORDER = Cascade(COSTS, "probability", ((1,), (0, 2)), (0.75,), (1.5, 1.0))


def calibrated(images: int = 400) -> Calibrated:
    made = committee(images, gflops=COSTS)
    return calibrate(made.combine, COSTS, CalibrationSample(made.digests), CalibrationRequest(0.1, 0.1))


def test_a_report_names_backbones_and_fits_into_json() -> None:
    about = told(calibrated(), NAMES)
    assert about["backbones"] == list(NAMES)
    best = about["chosen"]["best_fixed"]
    assert best.keys() == {"backbone", "gflops", "by"}
    assert best["gflops"] == COSTS[NAMES.index(best["backbone"])]
    asked = [name for stage in about["stages"] for name in stage["backbones"]]
    assert sorted(asked) == sorted(NAMES)
    assert len(about["stages"]) == len(about["tested"]["exit_shares"])
    json.dumps(about, allow_nan=False)


def test_stages_are_told_in_order() -> None:
    about = told(replace(calibrated(), cascade=ORDER), NAMES)
    assert about["stages"] == [
        {"backbones": ["middle"], "threshold": 0.75, "temperature": 1.5},
        {"backbones": ["tiny", "huge"], "threshold": None, "temperature": 1.0},
    ]


def test_with_too_few_images_there_is_one_stage_and_nothing_was_chosen() -> None:
    about = told(calibrated(8), NAMES)
    assert about["chosen"] is None
    assert about["stages"] == [{"backbones": list(NAMES), "threshold": None, "temperature": 1.0}]


def test_a_threshold_that_nobody_reaches_is_no_number() -> None:
    cascade = Cascade(COSTS, "margin", ((0,), (1,), (2,)), (NEVER, 0.5), (1.0, 1.0, 1.0))
    about = told(replace(calibrated(), cascade=cascade), NAMES)
    assert [stage["threshold"] for stage in about["stages"]] == [None, 0.5, None]
    json.dumps(about, allow_nan=False)


def test_behind_the_first_stage_of_a_router_nobody_is_named() -> None:
    weights = np.zeros((8, 3, PLAIN_FEATURES + 3), dtype=np.float32)
    router = Router(1, weights, np.ones(8))
    cascade = Cascade(COSTS, "probability", ((1,), (0,), (2,)), (0.5, NEVER), (1.0, 1.0, 1.0), router)
    about = told(replace(calibrated(), cascade=cascade), NAMES)
    assert about["stages"] == [
        {"backbones": ["middle"], "threshold": 0.5, "temperature": None},
        {"backbones": [], "threshold": None, "temperature": None},
        {"backbones": [], "threshold": None, "temperature": None},
    ]
