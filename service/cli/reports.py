"""What a fit and a calibration say of themselves, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.text import Text

from service.cli.output import bar, count, gflops, out, printable, promise, say, table

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from service.client.results import CalibrationResult, FitResult, Gain, HeldOut, Skipped

RUNGS: Final = {
    "mean": "The plain mean.",
    "generic": "The generic controller.",
    "static": "Every backbone has one weight, the same for all images.",
    "nlc": "Every image has weights of its own (NLC).",
}
SPEAKERS: Final = {"mean": "mean of probabilities", "mean_logit": "mean of logits", "generic": "generic controller"}
BY: Final = {"given": "as given", "labels": "by the labels", "agreement": "most often in agreement with it"}
MOST_SKIPPED: Final = 10


def show_fit(result: FitResult, label_set: str, paths: Sequence[Path] = ()) -> None:
    """`paths` are those of the images as they were sent, where that is known."""
    _verdict(result, label_set)
    shown = table("On held-out images", "", "Accuracy", "The fit gains", numbers=("Accuracy", "The fit gains"))
    if result.held_out is not None:
        _row(shown, f"the fit ({result.rung if result.accepted else 'refused'})", result.held_out, None, style="bold")
    for name, scores in result.unfitted.items():
        _row(shown, SPEAKERS.get(name, name), scores, result.gain_over_unfitted.get(name))
    for name, scores in result.backbones.items():
        _row(shown, name, scores, result.gain_over_backbones.get(name))
    out.print(shown)
    about = result.about
    fewest, most = about.shots
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    say(
        f"{count(about.examples, 'different image', 'different images')} of {about.classes_with_examples} of "
        f"{about.classes} classes, {each} of each, seed {about.seed}. Gains with their standard errors."
    )
    _show_skipped(result.skipped, paths)


def show_calibration(result: CalibrationResult, label_set: str, paths: Sequence[Path] = ()) -> None:
    version = "" if result.version is None else f"{label_set}/{result.version}: "
    out.print(Text(f"{version}cascade{_voice(result)}", style="bold"))
    if result.message is not None:
        out.print(result.message, style="yellow", markup=False)
    _show_stages(result)
    _show_promise(result)
    _show_cost(result)
    _show_accuracy(result)
    dropped = []
    if result.dropped_duplicates:
        dropped.append(f"{result.dropped_duplicates} that came twice")
    if result.dropped_fitted:
        dropped.append(f"{result.dropped_fitted} that the controller was fitted on")
    if dropped:
        say(f"Left aside: {' and '.join(dropped)}.")
    _show_skipped(result.skipped, paths)


def _voice(result: CalibrationResult) -> str:
    if "controller" not in result.model_fields_set:
        return ""
    return " under the plain mean" if result.controller is None else f" under controller {result.controller}"


def _verdict(result: FitResult, label_set: str) -> None:
    if result.accepted:
        version = "" if result.version is None else f"{label_set}/{result.version}: "
        out.print(Text(f"{version}accepted. {RUNGS[result.rung]}", style="bold green"))
        return
    out.print(Text("Refused: nothing was activated, requests are answered as before.", style="bold yellow"))
    for reason in result.reasons:
        say(f"  {reason}")


def _row(shown: Table, name: str, scores: HeldOut, gain: Gain | None, style: str = "") -> None:
    gained = "" if gain is None else f"{100 * gain.accuracy:+.1f} ± {100 * gain.standard_error:.1f} points"
    shown.add_row(Text(name, style=style), bar(scores.accuracy), f"{scores.accuracy:.1%}", gained)


def _show_stages(result: CalibrationResult) -> None:
    columns = ("Stage", "Asks", "Leaves with", "Temperature", "", "Leave here")
    shown = table(*columns, numbers=("Temperature", "Leave here"), whole=("Leaves with",))
    for number, share in enumerate(result.tested.exit_shares):
        shown.add_row(str(number + 1), *_stage(result, number), bar(share), f"{share:.1%}")
    out.print(shown)


def _stage(result: CalibrationResult, number: int) -> tuple[Text, str, str]:
    stage = result.stages[number]
    asks = ", ".join(stage.backbones) or "router's pick"
    score = "probability" if result.chosen is None else result.chosen.exit_score
    leaves = "nobody" if stage.threshold is None else f"{score} ≥ {stage.threshold:.4g}"
    if number == len(result.stages) - 1:
        leaves = "all the rest" if number else "everybody"
    return Text(asks), leaves, "" if stage.temperature is None else f"{stage.temperature:.3g}"


def _show_promise(result: CalibrationResult) -> None:
    tested = result.tested
    if tested.step is None:
        return
    say(f"Promise: {promise(result.epsilon, result.delta)}.")
    say(
        f"Tested on {count(tested.images, 'image', 'images')}: {tested.disagreements} answered otherwise, "
        f"{tested.disagreements_allowed} allowed (p = {tested.p_value:.3g}, at most {result.delta:g})."
    )


def _show_cost(result: CalibrationResult) -> None:
    spent, full = result.tested.gflops, result.gflops_full
    against = [f"{spent / full:.0%} of the full committee's {gflops(full)}"]
    if result.chosen is not None:
        best = result.chosen.best_fixed
        share = f"{spent / best.gflops:.0%} of the best fixed backbone's {gflops(best.gflops)}"
        against.append(f"{share} ({best.backbone}, {BY[best.by]})")
    say(f"Cost: {gflops(spent)} GFLOPs per image, {', '.join(against)}.")


def _show_accuracy(result: CalibrationResult) -> None:
    gap = result.tested.accuracy_gap
    if gap is None:
        return
    bound = (
        f"no bound up to {result.epsilon:.1%} could be shown"
        if gap.bound is None
        else f"at most {100 * gap.bound:.1f} points with probability {1 - result.delta:.0%}"
    )
    say(
        f"Accuracy: {gap.accuracy:.1%}, the full committee's {gap.accuracy_full:.1%}; {100 * gap.observed:.1f} points "
        f"are lost, {bound}."
    )


def _show_skipped(skipped: Sequence[Skipped], paths: Sequence[Path]) -> None:
    if not skipped:
        return
    say(f"{count(len(skipped), 'image', 'images')} could not be read:")
    for each in skipped[:MOST_SKIPPED]:
        name = printable(paths[each.index]) if each.index < len(paths) else f"image {each.index + 1}"
        say(f"  {name}: {each.message}")
    if len(skipped) > MOST_SKIPPED:
        say(f"  and {len(skipped) - MOST_SKIPPED} more")
