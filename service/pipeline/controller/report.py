"""What a fit says of itself: the rung it reached or why it was refused, and held-out scores beside everybody's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from service.pipeline.controller.examples import Examples
from service.pipeline.controller.pulled import Candidate
from service.pipeline.controller.scores import Scores

Rung = Literal["mean", "generic", "static", "nlc"]

BACKBONE: Final = "backbone "
"""Before a backbone's name where its scores lie beside the committee's: a backbone may be called `mean`."""

RIVALS: Final = {"mean": "the probability mean", "generic": "the generic controller"}
"""What answers where a fit is refused, in words."""


@dataclass(frozen=True, slots=True)
class ExamplesSummary:
    """`shots` are the fewest and most examples of a class that has any."""

    examples: int
    classes: int
    classes_with_examples: int
    shots: tuple[int, int]
    seed: int


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Top-1 accuracy as a share of 1, and mean negative log likelihood in nats at the best single temperature."""

    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True)
class Gain:
    """Accuracy of the fit minus that of something else on the same held-out examples; the error is the paired one."""

    accuracy: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class LadderReport:
    """`held_out` is of the whole procedure, choice of rung included: None where nothing was fitted. `unfitted` has the
    scores of `mean`, `mean_logit`, `generic` where there is one; `backbones` those of each alone. `gains` are over all
    of these. `reasons` say why a fit was refused; `strength` is that of an accepted one."""

    rung: Rung
    accepted: bool
    reasons: tuple[str, ...]
    strength: float | None
    about: ExamplesSummary
    held_out: HeldOut | None
    unfitted: Mapping[str, HeldOut]
    backbones: Mapping[str, HeldOut]
    gain_over_unfitted: Mapping[str, Gain]
    gain_over_backbones: Mapping[str, Gain]

    def as_json(self) -> dict[str, Any]:
        """As it will be read again: lists for tuples."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found


def about_examples(examples: Examples, seed: int) -> ExamplesSummary:
    counts = np.bincount(examples.truth, minlength=examples.classes)
    return ExamplesSummary(len(examples), examples.classes, int((counts > 0).sum()), examples.shots, seed)


def reasons_against(fit: Scores, unfitted: Mapping[str, Scores], chosen: bool) -> tuple[str, ...]:
    """Why a fit is not better than what answers without it; empty where it is. All scores are of the same examples."""
    if not chosen:
        return (f"No fit predicted held-out labels better than {RIVALS[_prior(unfitted)]}.",)
    reasons = []
    for name, words in RIVALS.items():
        if name not in unfitted:
            continue
        rival = unfitted[name]
        if fit.loss >= rival.loss:
            reasons.append(
                f"Held-out labels were no likelier than under {words}: {fit.loss:.4f} against {rival.loss:.4f} nats."
            )
        elif fit.accuracy < rival.accuracy:
            reasons.append(
                f"Held-out accuracy was {100 * fit.accuracy:.1f} %, that of {words} {100 * rival.accuracy:.1f} %."
            )
    return tuple(reasons)


def refused(
    about: ExamplesSummary, unfitted: Mapping[str, Scores], fit: Scores | None, reasons: tuple[str, ...]
) -> LadderReport:
    return _report(_prior(unfitted), None, about, unfitted, fit, reasons)


def accepted(about: ExamplesSummary, unfitted: Mapping[str, Scores], fit: Scores, chosen: Candidate) -> LadderReport:
    return _report(chosen.rung, chosen.strength, about, unfitted, fit, ())


def _prior(unfitted: Mapping[str, Scores]) -> Literal["mean", "generic"]:
    return "generic" if "generic" in unfitted else "mean"


def _report(
    rung: Rung,
    strength: float | None,
    about: ExamplesSummary,
    unfitted: Mapping[str, Scores],
    fit: Scores | None,
    reasons: tuple[str, ...],
) -> LadderReport:
    committees = {name: scores for name, scores in unfitted.items() if not name.startswith(BACKBONE)}
    backbones = {name.removeprefix(BACKBONE): each for name, each in unfitted.items() if name.startswith(BACKBONE)}
    return LadderReport(
        rung=rung,
        accepted=not reasons,
        reasons=reasons,
        strength=strength,
        about=about,
        held_out=None if fit is None else _held_out(fit),
        unfitted={name: _held_out(scores) for name, scores in committees.items()},
        backbones={name: _held_out(scores) for name, scores in backbones.items()},
        gain_over_unfitted=_gains(fit, committees),
        gain_over_backbones=_gains(fit, backbones),
    )


def _held_out(scores: Scores) -> HeldOut:
    return HeldOut(scores.accuracy, scores.loss)


def _gains(fit: Scores | None, others: Mapping[str, Scores]) -> dict[str, Gain]:
    if fit is None:
        return {}
    found = {}
    for name, other in others.items():
        differences = fit.correct.astype(np.float64) - other.correct
        error = differences.std() / np.sqrt(len(differences))
        found[name] = Gain(float(differences.mean()), float(error))
    return found
