"""The `shots` section and the reliability of confidences as Markdown; everything comes from the reports alone."""

from collections.abc import Mapping, Sequence

from training.evaluate.committee.aims import aim_rows
from training.evaluate.committee.draws import LEAST_SHARE
from training.evaluate.committee.estimates import shown, shown_difference
from training.evaluate.committee.reliability import ReliabilityReport
from training.evaluate.committee.shots import ALONE
from training.evaluate.committee.shots_report import ALL, SEEN, UNSEEN, MeanRow, Scored, ShotsReport, TaskShots
from training.evaluate.markdown import markdown_table, points

WORDS = {
    "best_fixed": "best fixed backbone",
    "best_by_labels": "best backbone by the same labels",
    "best_in_hindsight": "best backbone in hindsight",
    "vote": "majority vote",
    "mean_uncalibrated": "probability mean, uncalibrated",
    "mean": "probability mean",
    "mean_logit": "logit mean",
    "generic": "generic controller, fitted on the other tasks",
    "oracle": "oracle: any backbone is right",
    "own_temperatures": "probability mean, temperatures by the labels",
    "super_learner": "static weights (Super Learner)",
    "mixture_network": "mixture network (Lu et al.)",
    "stacking": "stacking: logistic regression on all logits",
    "nlc": "NLC, the paper's form",
    "any_subset": "NLC, any subset",
    "ladder": "the ladder's pick",
}
HEADLINE = (
    "best_fixed",
    "mean",
    "best_by_labels",
    "stacking",
    "nlc",
    "ladder",
    "tip:any_subset",
    "gauss:any_subset",
    "best_in_hindsight",
    "oracle",
)
PREFIXES = {"": "", "tip:": "Tip-Adapters: ", "gauss:": "Gaussian adapters: "}


def words(method: str) -> str:
    """A method's name for people."""
    for prefix, before in sorted(PREFIXES.items(), reverse=True):
        rest = method.removeprefix(prefix)
        if prefix and rest == method:
            continue
        if rest.startswith(ALONE):
            return f"{before}`{rest.removeprefix(ALONE)}`"
        return before + WORDS.get(rest, rest)
    return method


def shots_table(report: ShotsReport) -> str:
    """Aims, means, seen and unseen, and every task."""
    parts = [aims_table(report), "### Means over tasks", _note(report), mean_table(report)]
    parts += ["### Less the best fixed backbone", difference_table(report)]
    if report.shots:
        parts += ["### Seen and unseen", group_table(report)]
    parts += ["### Every task", task_table(report)]
    parts += [f"#### {_named(shots)}\n\n{methods_by_task(report, shots)}" for shots in _shown(report)]
    parts += ["### Tasks and their labelled pictures", pool_table(report)]
    return "\n\n".join(parts)


def headline_table(report: ShotsReport) -> str:
    """For a reader in a hurry: a few methods by labelled pictures per class, the best fixed backbone first."""
    rows = _columns(report)
    names = [name for name in HEADLINE if any(name in row.methods for row in rows)]
    header = ["accuracy in percent, mean over tasks", "GFLOPs"]
    header += [f"{_named(row.shots)} ({len(row.tasks)} tasks)" for row in rows]
    table = []
    for name in names:
        cells = [points(row.methods[name].accuracy.value) if name in row.methods else "" for row in rows]
        table.append([words(name), f"{rows[-1].methods[name].gflops:.3g}", *cells])
    return markdown_table(header, table)


def aims_table(report: ShotsReport) -> str:
    """What was aimed at."""
    return markdown_table(["", "aim", "found", ""], aim_rows(report))


def _note(report: ShotsReport) -> str:
    return (
        f"Top-1 accuracy in percent (mean over classes where they are uneven), every task alike, {report.seeds} draws "
        "of the labelled pictures, with 95% intervals over pictures and draws. A class with fewer labelled pictures "
        f"gives all it has; a task counts for a number of shots where there are at least {LEAST_SHARE:.0%} of the "
        "pictures asked for: columns are means over different tasks, and comparators are of the tasks of their "
        "column. The best fixed backbone is chosen by the test scores of those tasks, which flatters it. Tip-Adapters "
        "and Gaussian adapters have their settings chosen by held-out answers of the labelled pictures; with one shot "
        "there are none: settings are fixed, their strength by trials on test pictures of an earlier zoo, which "
        "flatters the adapters at one shot. GFLOPs are those of the last column, per picture."
    )


def _columns(report: ShotsReport) -> list[MeanRow]:
    found = [report.mean(shots) for shots in (0, *report.shots)]
    return [row for row in found if row is not None]


def _header(rows: Sequence[MeanRow]) -> list[str]:
    return ["method", "GFLOPs", *(f"{_named(row.shots)}, {len(row.tasks)} tasks" for row in rows)]


def _named(shots: int) -> str:
    return {0: "no labels", 1: "1 shot"}.get(shots, f"{shots} shots")


def _methods(rows: Sequence[MeanRow]) -> list[str]:
    """In one order: as the fullest row has them."""
    fullest = max(rows, key=lambda row: len(row.methods))
    return list(fullest.methods)


def mean_table(report: ShotsReport) -> str:
    """Every method's mean accuracy by number of shots."""
    rows = _columns(report)
    table = []
    for name in _methods(rows):
        cells = [shown(row.methods[name].accuracy) if name in row.methods else "" for row in rows]
        table.append([words(name), f"{rows[-1].methods[name].gflops:.3g}", *cells])
    fixed = ", ".join(f"`{row.best_fixed}` ({_named(row.shots)})" for row in rows)
    return f"{markdown_table(_header(rows), table)}\n\nBest fixed backbone: {fixed}."


def difference_table(report: ShotsReport) -> str:
    """Every method less the best fixed backbone, in points; bold where the interval leaves 0 out."""
    rows = _columns(report)
    table = []
    for name in _methods(rows):
        cells = [shown_difference(row.methods[name].over_fixed) if name in row.methods else "" for row in rows]
        table.append([words(name), f"{rows[-1].methods[name].gflops:.3g}", *cells])
    return markdown_table(_header(rows), table)


def group_table(report: ShotsReport) -> str:
    """At the most shots, tasks whose classes the training saw and those that it did not."""
    found = [(group, report.mean(report.shots[-1], group)) for group in (ALL, SEEN, UNSEEN)]
    rows = [(group, row) for group, row in found if row is not None]
    header = [f"{_named(report.shots[-1])}", *(f"{group} ({len(row.tasks)})" for group, row in rows)]
    names = _methods([row for _, row in rows])
    table = [
        [words(name), *(shown(row.methods[name].accuracy) if name in row.methods else "" for _, row in rows)]
        for name in names
    ]
    return markdown_table(header, table)


def _shown(report: ShotsReport) -> list[int]:
    """The fewest and the most shots."""
    return sorted({report.shots[0], report.shots[-1]}) if report.shots else []


def task_table(report: ShotsReport) -> str:
    """Who needs no labels, on every task."""
    names = list(report.tasks[0].zero_shot)
    header = ["task", "new about it", *(words(name) for name in names)]
    rows = [[_title(task), task.novelty, *_cells(task.zero_shot, names)] for task in report.tasks]
    return markdown_table(header, rows)


def methods_by_task(report: ShotsReport, shots: int) -> str:
    """Who learns from labels, on every task that has these shots; adapters of single backbones are left out."""
    tasks = [task for task in report.tasks if shots in task.learnt]
    names = [name for name in tasks[0].learnt[shots].methods if ALONE not in name]
    rows = []
    for task in tasks:
        found = task.learnt[shots]
        rows.append([_title(task), f"{found.per_class:.1f}", *_cells(found.methods, names)])
    return markdown_table(["task", "pictures per class", *(words(name) for name in names)], rows)


def _cells(methods: Mapping[str, Scored], names: Sequence[str]) -> list[str]:
    return [points(methods[name].accuracy.value) if name in methods else "" for name in names]


def _title(task: TaskShots) -> str:
    return task.source if task.balanced else f"{task.source} (balanced)"


def pool_table(report: ShotsReport) -> str:
    """What there was to test and to learn from."""
    header = ["task", "new about it", "pictures", "classes", "asked, of the test split", "labelled pictures"]
    header += [f"per class at {_named(shots)}" for shots in report.shots] + ["classes without any", "left out"]
    rows = []
    for task in report.tasks:
        cells = [f"{task.learnt[s].per_class:.1f}" if s in task.learnt else "" for s in report.shots]
        without = str(next(iter(task.learnt.values())).without) if task.learnt else ""
        dropped = [f"{task.disputed} of two labels"] if task.disputed else []
        dropped += [f"{task.repeated} repeated"] if task.repeated else []
        asked = f"{task.pictures:,} of {task.test_pictures:,}"
        rows.append([task.source, task.novelty, task.picture, f"{task.classes:,}", asked, f"{task.fit_pictures:,}"])
        rows[-1] += [*cells, without, ", ".join(dropped)]
    return markdown_table(header, rows)


def reliability_table(report: ReliabilityReport) -> str:
    """Expected calibration errors."""
    rows = [[f"`{each.speaker}`", points(each.before.error), points(each.after.error)] for each in report.speakers]
    note = (
        f"Expected calibration error in points over {report.tasks} tasks, which count alike, without labels: how far "
        "the top probability and the share of right answers lie apart, at the towers' own logit scale and at the zoo's "
        "temperatures."
    )
    return f"{note}\n\n{markdown_table(['', 'before temperatures', 'after'], rows)}"
