"""The tables at the end of a fit and of a calibration, in all the ways in which these can end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.cli.reports import show_calibration, show_fit
from service.client.results import CalibrationResult, FitResult

FIT: dict[str, Any] = {
    "rung": "static",
    "accepted": True,
    "reasons": [],
    "strength": 0.01,
    "about": {"examples": 80, "classes": 20, "classes_with_examples": 19, "shots": [4, 5], "seed": 3},
    "held_out": {"accuracy": 0.7875, "loss": 0.5},
    "unfitted": {"mean": {"accuracy": 0.7375, "loss": 0.6}, "mean_logit": {"accuracy": 0.725, "loss": 0.6}},
    "backbones": {"small": {"accuracy": 0.55, "loss": 1.2}, "mean": {"accuracy": 0.6, "loss": 1.1}},
    "gain_over_unfitted": {"mean": {"accuracy": 0.05, "standard_error": 0.039}},
    "gain_over_backbones": {"small": {"accuracy": 0.2375, "standard_error": 0.057}},
    "skipped": [],
    "version": 7,
}
TESTED: dict[str, Any] = {
    "images": 474,
    "step": 61,
    "disagreements": 15,
    "disagreements_allowed": 17,
    "p_value": 0.0355,
    "gflops": 0.2,
    "exit_shares": [0.75, 0.25],
    "accuracy_gap": None,
}
CHOSEN: dict[str, Any] = {
    "images": 474,
    "temperatures_by": "committee",
    "exit_score": "margin",
    "exit_score_reason": "Because.",
    "routing": "order",
    "routing_reason": "Because.",
    "best_fixed": {"backbone": "large", "gflops": 0.16, "by": "agreement"},
}
STAGES: list[dict[str, Any]] = [
    {"backbones": ["small"], "threshold": 0.53194, "temperature": 0.902},
    {"backbones": ["large", "huge"], "threshold": None, "temperature": 1.5},
]
CALIBRATION: dict[str, Any] = {
    "epsilon": 0.02,
    "delta": 0.1,
    "images_needed": 227,
    "dropped_duplicates": 0,
    "dropped_fitted": 0,
    "gflops_full": 0.4,
    "chosen": CHOSEN,
    "tested": TESTED,
    "message": None,
    "stages": STAGES,
    "controller": "pets/7",
    "skipped": [],
    "version": 2,
}
PATHS = [Path(f"photos/{number}.jpg") for number in range(20)]

Capture = pytest.CaptureFixture[str]


def shown(capture: Capture) -> list[str]:
    return [" ".join(line.split()) for line in capture.readouterr().out.splitlines()]


def fit(capture: Capture, **changes: Any) -> list[str]:
    show_fit(FitResult.model_validate(FIT | changes), "pets", PATHS)
    return shown(capture)


def calibration(capture: Capture, **changes: Any) -> list[str]:
    show_calibration(CalibrationResult.model_validate(CALIBRATION | changes), "pets", PATHS)
    return shown(capture)


def row(lines: list[str], start: str) -> str:
    (found,) = (line.replace("━", "").replace("╸", "") for line in lines if line.startswith(start))
    return " ".join(found.split())


def test_an_accepted_fit_stands_beside_everybody_else(capsys: Capture) -> None:
    lines = fit(capsys)
    assert lines[0] == "pets/7: accepted. Every backbone has one weight, the same for all images."
    assert row(lines, "the fit (static)") == "the fit (static) 78.8%"
    assert row(lines, "mean of probabilities") == "mean of probabilities 73.8% +5.0 ± 3.9 points"
    assert row(lines, "small") == "small 55.0% +23.8 ± 5.7 points"
    assert row(lines, "mean ━") == "mean 60.0%"  # a backbone of that name
    assert "80 different images of 19 of 20 classes, 4 to 5 of each, seed 3." in lines[-1]


@pytest.mark.parametrize("rung", ["mean", "generic", "static", "nlc"])
def test_every_rung_has_words(capsys: Capture, rung: str) -> None:
    assert fit(capsys, rung=rung)[0].startswith("pets/7: accepted. ")


def test_a_refused_fit_says_so_with_its_reasons(capsys: Capture) -> None:
    lines = fit(capsys, accepted=False, reasons=["Held-out accuracy was lower.", "And so on."], rung="mean")
    assert lines[:3] == [
        "Refused: nothing was activated, requests are answered as before.",
        "Held-out accuracy was lower.",
        "And so on.",
    ]
    assert row(lines, "the fit") == "the fit (refused) 78.8%"


def test_where_nothing_was_fitted_nothing_is_shown_for_it(capsys: Capture) -> None:
    lines = fit(capsys, accepted=False, held_out=None, gain_over_unfitted={}, gain_over_backbones={})
    assert not [line for line in lines if line.startswith("the fit")]
    assert row(lines, "small") == "small 55.0%"


def test_images_that_could_not_be_read_are_named_or_counted(capsys: Capture) -> None:
    skipped = [{"index": index, "message": "Damaged.", "code": "invalid_image"} for index in range(3, 15)]
    lines = fit(capsys, skipped=skipped)
    assert "12 images could not be read:" in lines
    assert "photos/3.jpg: Damaged." in lines
    assert lines[-1] == "and 2 more"
    show_fit(FitResult.model_validate(FIT | {"skipped": skipped[:1]}), "pets")
    assert "image 4: Damaged." in shown(capsys)


def test_a_cascade_is_told_stage_by_stage(capsys: Capture) -> None:
    lines = calibration(capsys)
    assert lines[0] == "pets/2: cascade under controller pets/7"
    assert row(lines, "1 ") == "1 small margin ≥ 0.5319 0.902 75.0%"
    assert row(lines, "2 ") == "2 large, huge all the rest 1.5 25.0%"
    assert "Promise: with probability 0.9, at most 2% of answers differ from the full committee's." in lines
    assert "Tested on 474 images: 15 answered otherwise, 17 allowed (p = 0.0355, at most 0.1)." in lines
    assert (
        "Cost: 0.2 GFLOPs per image, 50% of the full committee's 0.4, 125% of the best fixed backbone's 0.16 (large, "
        "most often in agreement with it)."
    ) in lines
    assert not [line for line in lines if line.startswith(("Accuracy", "Left aside"))]


def test_a_router_picks_whom_to_ask(capsys: Capture) -> None:
    stages = [
        {"backbones": ["small"], "threshold": None, "temperature": None},
        {"backbones": [], "threshold": None, "temperature": None},
    ]
    lines = calibration(capsys, stages=stages, tested=TESTED | {"exit_shares": [0.0, 1.0]})
    assert row(lines, "1 ") == "1 small nobody 0.0%"
    assert row(lines, "2 ") == "2 router's pick all the rest 100.0%"


@pytest.mark.parametrize(
    ("bound", "sentence"),
    [
        (
            0.022,
            "Accuracy: 59.1%, the full committee's 59.7%; 0.6 points are lost, at most 2.2 points with",
        ),
        (None, "no bound up to 2.0% could be shown."),
    ],
)
def test_with_labels_the_loss_of_accuracy_is_told(capsys: Capture, bound: float | None, sentence: str) -> None:
    gap = {"accuracy": 0.591, "accuracy_full": 0.597, "observed": 0.006, "bound": bound}
    assert [line for line in calibration(capsys, tested=TESTED | {"accuracy_gap": gap}) if sentence in line]


def test_too_few_images_promise_nothing(capsys: Capture) -> None:
    tested = TESTED | {"step": None, "exit_shares": [1.0], "disagreements_allowed": -1, "gflops": 0.4}
    everybody = [{"backbones": ["small", "large"], "threshold": None, "temperature": 1.0}]
    lines = calibration(
        capsys, message="At least 227 are needed.", tested=tested, chosen=None, stages=everybody, controller=None
    )
    assert lines[:2] == ["pets/2: cascade under the plain mean", "At least 227 are needed."]
    assert row(lines, "1 ") == "1 small, large everybody 1 100.0%"
    assert not [line for line in lines if line.startswith(("Promise", "Tested"))]
    assert lines[-1] == "Cost: 0.4 GFLOPs per image, 100% of the full committee's 0.4."


def test_images_that_do_not_count_are_said(capsys: Capture) -> None:
    lines = calibration(capsys, dropped_duplicates=3, dropped_fitted=80)
    assert lines[-1] == "Left aside: 3 that came twice and 80 that the controller was fitted on."


def test_a_version_does_not_know_who_spoke(capsys: Capture) -> None:
    about = {name: value for name, value in CALIBRATION.items() if name not in ("controller", "skipped", "version")}
    show_calibration(CalibrationResult.model_validate(about), "pets")
    assert shown(capsys)[0] == "cascade"
