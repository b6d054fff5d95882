"""`quorum labels fitted`, `activate` and `forget`: what was fitted for a label set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.text import Text

from service.cli import options
from service.cli.connection import Target, ask, in_sentences
from service.cli.output import gflops, out, say, table, warn

if TYPE_CHECKING:
    from service.api.schemas import FittedOut, LabelSetDetails, ShadowOut, VersionOut
    from service.client import AsyncQuorumClient

KINDS: tuple[Literal["controller", "cascade"], ...] = ("controller", "cascade")
MISSING: Final = "`quorum labels show NAME` shows what is fitted; `quorum fit` and `quorum calibrate` do it."

KindArgument = Annotated[
    Literal["controller", "cascade"], typer.Argument(help="Which of the two.", metavar="KIND", show_default=False)
]
VersionArgument = Annotated[
    int, typer.Argument(min=1, metavar="VERSION", help="A version that is still kept.", show_default=False)
]


def fitted(
    label_set: options.LabelSet, kind: KindArgument, url: options.Url = None, as_json: options.Json = False
) -> None:
    """Show the versions of a label set's controller or cascade, and what was measured when the active one was made.

    KIND is `controller` or `cascade`.

    Example: `quorum labels fitted pets cascade`
    """
    from service.client import calls

    answer = ask(Target(url), calls.fitted(label_set, kind), as_json=as_json, missing=MISSING)
    if as_json:
        return
    shown = next((version for version in answer.versions if version.active), answer.versions[0])
    with in_sentences():
        show_versions([answer])
        out.print()
        _report(answer, shown)
    if answer.shadow is not None:
        _show_shadow(answer.shadow)


def activate(
    label_set: options.LabelSet,
    kind: KindArgument,
    version: VersionArgument,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Go back, or forward, to a version of a controller or cascade that is still kept.

    KIND is `controller` or `cascade`. A cascade applies only under the controller that it was calibrated with.

    Example: `quorum labels activate pets controller 1`
    """
    from service.client import calls

    answer = ask(Target(url), calls.activate(label_set, kind, version), as_json=as_json, missing=MISSING)
    if as_json:
        return
    say(f"{label_set}: {kind} {answer.active} is active.")
    for each in answer.versions:
        if each.active and each.reason is not None:
            warn(f"It does not apply: {each.reason}")


def forget(label_set: options.LabelSet, kind: KindArgument, url: options.Url = None) -> None:
    """Delete every version of a label set's controller or cascade. There is no way back.

    KIND is `controller` or `cascade`.

    Example: `quorum labels forget pets cascade`
    """
    from service.client import calls

    ask(Target(url), calls.delete_fitted(label_set, kind), missing=MISSING)
    say(f"{label_set}: the {kind} is deleted.")


async def all_fitted(client: AsyncQuorumClient, label_set: LabelSetDetails) -> list[FittedOut]:
    there = {"controller": label_set.controller, "cascade": label_set.cascade}
    return [await client.fitted(label_set.name, kind) for kind in KINDS if there[kind] is not None]


def show_versions(all_kinds: Sequence[FittedOut]) -> None:
    shown = table("Fitted", "Version", "", "Made", "Measured", numbers=("Version",))
    for answer in all_kinds:
        for version in answer.versions:
            shown.add_row(
                answer.kind,
                str(version.version),
                "active" if version.active else "",
                f"{version.created_at.astimezone():%Y-%m-%d %H:%M}",
                Text(_summary(answer, version)),
            )
            if version.reason is not None:
                shown.add_row("", "", "", "", Text(f"does not apply: {version.reason}", style="yellow"))
    out.print(shown)


def _summary(answer: FittedOut, version: VersionOut) -> str:
    from service.client import CalibrationResult, FitResult

    if answer.kind == "controller":
        fit = FitResult.of(version)
        mean, held_out = fit.unfitted.get("mean"), fit.held_out
        accuracy = "" if held_out is None else f", {held_out.accuracy:.1%} held out"
        return f"{fit.rung}{accuracy}{'' if mean is None else f', the mean {mean.accuracy:.1%}'}"
    made = CalibrationResult.of(version)
    cost = f"{gflops(made.tested.gflops)} of {gflops(made.gflops_full)} GFLOPs"
    return f"epsilon {made.epsilon:g}, delta {made.delta:g}, {cost}"


def _report(answer: FittedOut, version: VersionOut) -> None:
    from service.cli.reports import show_calibration, show_fit
    from service.client import CalibrationResult, FitResult

    number = {"version": version.version}
    if answer.kind == "controller":
        show_fit(FitResult.of(version).model_copy(update=number), answer.label_set)
    else:
        show_calibration(CalibrationResult.of(version).model_copy(update=number), answer.label_set)


def _show_shadow(shadow: ShadowOut) -> None:
    """How the promise holds up among the images that came since."""
    line = f"Checked since the server started: {shadow.disagreements} of {shadow.checked} answered otherwise"
    if shadow.alert:
        warn(
            f"{line}: more than promised (at least {shadow.lower_bound:.2%}, epsilon is {shadow.epsilon:.2%}). "
            "Calibrate anew, on images like those that come."
        )
    else:
        say(f"{line}.")
