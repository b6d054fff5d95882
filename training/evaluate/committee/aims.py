"""What the committee is held to, each aim beside what was found."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluate.committee.estimates import Estimate, shown_difference
from training.evaluate.committee.shots_report import ShotsReport

MOST_LOST_POINTS = 1.0


@dataclass(frozen=True)
class Aim:
    """`wanted` in points; any of `methods` may reach it. `over`: which comparator."""

    what: str
    shots: int
    methods: tuple[str, ...]
    over: str
    wanted: float


FIXED, CHOSEN = "the best fixed backbone", "the best backbone by the same labels"

AIMS = (
    Aim("Without labels: probability mean or generic controller", 0, ("mean", "generic"), FIXED, 2.0),
    Aim("One label per class: the ladder's pick", 1, ("ladder",), FIXED, 3.0),
    Aim("One label per class: the ladder's pick", 1, ("ladder",), CHOSEN, 0.0),
    Aim("16 labels per class: the paper's NLC", 16, ("nlc",), FIXED, 5.0),
    Aim("16 labels per class: the paper's NLC", 16, ("nlc",), CHOSEN, 2.0),
    Aim("16 labels per class: NLC over per-backbone Tip-Adapters", 16, ("tip:nlc", "tip:any_subset"), FIXED, 9.0),
    Aim("16 labels per class: NLC over per-backbone Gaussians", 16, ("gauss:nlc", "gauss:any_subset"), FIXED, 9.0),
)


@dataclass(frozen=True)
class Verdict:
    """`method`: the one that came farthest; `found`: its difference; null where nothing was measured."""

    aim: Aim
    method: str | None
    found: Estimate | None
    tasks: int

    @property
    def reached(self) -> bool:
        return self.found is not None and 100 * self.found.value >= self.aim.wanted


def verdicts(report: ShotsReport, aims: Sequence[Aim] = AIMS) -> tuple[Verdict, ...]:
    """Every aim, over all tasks that have its shots."""
    return tuple(_verdict(report, aim) for aim in aims)


def _verdict(report: ShotsReport, aim: Aim) -> Verdict:
    row = report.mean(aim.shots)
    if row is None:
        return Verdict(aim, None, None, 0)
    found: dict[str, Estimate] = {}
    for name in aim.methods:
        if name in row.methods:
            scores = row.methods[name]
            difference = scores.over_fixed if aim.over == FIXED else scores.over_chosen
            if difference is not None:
                found[name] = difference
    if not found:
        return Verdict(aim, None, None, len(row.tasks))
    best = max(found, key=lambda name: found[name].value)
    return Verdict(aim, best, found[best], len(row.tasks))


def aim_rows(report: ShotsReport) -> list[list[str]]:
    """Cells of a table: the aim, what was found, reached or missed. The last aim is about every task by itself."""
    rows = []
    for verdict in verdicts(report):
        aim = verdict.aim
        wanted = f"{aim.wanted:+.0f} points over {aim.over}"
        if verdict.found is None:
            rows.append([aim.what, wanted, "no task has these shots", "not measured"])
            continue
        found = f"{shown_difference(verdict.found)} (`{verdict.method}`, {verdict.tasks} tasks)"
        rows.append([aim.what, wanted, found, "reached" if verdict.reached else "**missed**"])
    for method in dict.fromkeys(margin.method for margin in report.margins):
        worst = min(
            (margin for margin in report.margins if margin.method == method), key=lambda each: each.difference.value
        )
        kept = 100 * worst.difference.value >= -MOST_LOST_POINTS
        where = f"`{worst.source}` at {worst.shots} shots, against `{worst.rival}`"
        rows.append(
            [
                f"On no task and at no number of shots far below the best of labels' choice and means: `{method}`",
                f"at most {MOST_LOST_POINTS:.0f} point below",
                f"{shown_difference(worst.difference)} on {where}",
                "reached" if kept else "**missed**",
            ]
        )
    return rows
