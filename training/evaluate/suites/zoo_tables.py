"""The zoo's report as Markdown. Percentages throughout; everything comes from the report alone."""

from training.evaluate.markdown import markdown_table, percent, points
from training.evaluate.suites.zoo_aggregate import ALL_LABELLED, EVERYTHING
from training.evaluate.suites.zoo_report import Aggregate, Measure, TaskReport, ZooReport

# What a zoo of members that differ by design is held to.
AIM_GAP_POINTS = 4.0
AIM_BEST_SOMEWHERE = 3

SAW = "\\*"


def tables(report: ZooReport) -> str:
    """Everything, as one document."""
    parts = [
        "# The zoo on the test splits",
        f"Written by `python -m training evaluate --suite zoo` ({report.machine}) from [zoo.json](zoo.json). "
        f"Percent; in brackets {report.interval}.",
        summary(report),
    ]
    if report.labelled:
        parts += ["## Every backbone", backbone_table(report), "## Committees and the oracle", committee_table(report)]
        parts += ["## Right alone", alone_table(report), "![Who is right alone](alone.png)"]
        parts += ["![Which pairs disagree](pairs.png)"] if len(report.backbones) > 1 else []
    if report.retrieval:
        parts += ["## Retrieval", retrieval_table(report)]
    parts += ["## Means over tasks", mean_table(report)]
    if report.labelled:
        parts += ["![Accuracy against cost](accuracy.png)", "## Prompts", prompt_table(report)]
    return "\n\n".join(parts) + "\n"


def summary(report: ZooReport) -> str:
    """The two questions that a zoo must answer, with what it is held to."""
    found = {aggregate.group: aggregate for aggregate in report.aggregates}
    lines = [line for group in (ALL_LABELLED, EVERYTHING) if group in found for line in _summary_of(found[group])]
    return "\n".join(lines)


def _summary_of(aggregate: Aggregate) -> list[str]:
    choice = aggregate.choice
    best = {name: tasks for name, tasks in choice.best_on.items() if tasks}
    clearly = {name: tasks for name, tasks in choice.clearly_best_on.items() if tasks}
    gap = f"{100 * choice.gap.value:.1f} points [{100 * choice.gap.low:.1f}, {100 * choice.gap.high:.1f}]"
    return [
        f"- Mean over {len(aggregate.tasks)} {aggregate.group}: the best fixed backbone (`{choice.best_fixed}`) "
        f"reaches {percent(choice.fixed)}, the best one of each task {percent(choice.per_task)}: {gap} more "
        f"(aim: {AIM_GAP_POINTS:.0f}; {_verdict(100 * choice.gap.value >= AIM_GAP_POINTS)}). Chosen on one half of the "
        f"pictures and scored on the other: {100 * choice.honest_gap:.1f} points.",
        f"- Best somewhere: {_counted(best)} (aim: {AIM_BEST_SOMEWHERE} backbones; "
        f"{_verdict(len(best) >= AIM_BEST_SOMEWHERE)}). Best in at least 95% of the resamples: {_counted(clearly)}.",
    ]


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def _counted(tasks_of: dict[str, tuple[str, ...]]) -> str:
    ranked = sorted(tasks_of.items(), key=lambda item: (-len(item[1]), item[0]))
    return ", ".join(f"`{name}` on {len(tasks)}" for name, tasks in ranked) or "none"


def _title(task: TaskReport) -> list[str]:
    return [f"{task.task} (balanced)" if "balanced" in task.measures[0].name else task.task]


def _scores(measure: Measure, trained_on: dict[str, bool | None]) -> list[str]:
    """One cell per backbone: the best in bold, a star where its training saw the source."""
    cells = []
    for name, score in measure.scores.items():
        cell = f"**{percent(score)}**" if name == measure.best else percent(score)
        cells.append(cell + {True: f" {SAW}", False: "", None: " ?"}[trained_on[name]])
    return cells


def backbone_table(report: ZooReport) -> str:
    """Top-1 accuracy of every backbone on every labelled task."""
    rows = [
        [
            *_title(task),
            task.novelty,
            f"{task.items:,}",
            f"{task.classes:,}",
            *_scores(task.measures[0], task.trained_on),
        ]
        for task in report.labelled
    ]
    header = ["task", "new about it", "pictures", "classes", *(f"`{name}`" for name in report.backbones)]
    unknown = any(seen is None for task in report.tasks for seen in task.trained_on.values())
    note = (
        "Zero-shot top-1 accuracy; mean over classes where they are uneven (balanced). Bold: the best backbone. "
        f"{SAW}: its training saw other pictures of this source."
    )
    return f"{note}{' ?: its configuration does not say.' if unknown else ''}\n\n{markdown_table(header, rows)}"


def committee_table(report: ZooReport) -> str:
    """The plain committees and the oracle with its controls, on every labelled task."""
    rows = []
    for task in report.labelled:
        (measure,) = task.measures
        committees = [percent(score) for score in measure.committees.values()]
        controls = [points(measure.oracle_shuffled), points(measure.oracle_independent)]
        rows.append(
            [*_title(task), percent(measure.scores[measure.best]), *committees, percent(measure.oracle), *controls]
        )
    policies = [f"`{policy}`" for policy in report.labelled[0].measures[0].committees] if report.labelled else []
    header = ["task", "best backbone", *policies, "oracle", "oracle, others shuffled", "oracle, independent errors"]
    note = (
        "`mean` is the mean of the backbones' probabilities, `mean_logit` that of their logits, `vote` the class that "
        "most of them name. The oracle is right where any backbone is. Others shuffled: the best backbone as it is, "
        "the answers of all others dealt anew to the task's pictures, which is what luck adds to it. Independent "
        "errors: every backbone right as often in each class, on pictures that have nothing to do with each other."
    )
    return f"{note}\n\n{markdown_table(header, rows)}"


def alone_table(report: ZooReport) -> str:
    """Share of pictures that only one backbone gets right, beside the controls."""
    rows = []
    for task in report.labelled:
        (measure,) = task.measures
        cells = []
        for found in measure.alone.values():
            share = f"**{points(found.share.value)}**" if found.above.low > 0 else points(found.share.value)
            cells.append(f"{share} ({points(found.shuffled)})")
        rows.append([*_title(task), f"{percent(measure.only_one)} ({points(measure.only_one_shuffled)})", *cells])
    header = ["task", "only one is right", *(f"only `{name}`" for name in report.backbones)]
    note = (
        "Share of pictures that only one backbone gets right, in all and by backbone. In parentheses the control: the "
        "same with this backbone's answers shuffled within the task (in all: the sum of the controls). Bold: above the "
        "control in 97.5% of the resamples."
    )
    return f"{note}\n\n{markdown_table(header, rows)}"


def retrieval_table(report: ZooReport) -> str:
    """Recall at 1, 5 and 10, both directions."""
    rows = []
    for task in report.retrieval:
        for measure in task.measures:
            together = [
                percent(measure.committees["mean_logit"]),
                percent(measure.oracle),
                points(measure.oracle_shuffled),
            ]
            rows.append([f"{task.task} ({task.novelty}, {task.items:,} pictures)", measure.name])
            rows[-1] += [*_scores(measure, task.trained_on), *together]
    header = ["set", "measure", *(f"`{name}`" for name in report.backbones)]
    header += ["`mean_logit`", "oracle", "oracle, others shuffled"]
    note = (
        "A caption looks for its picture among all pictures of the set, a picture for any of its captions among all "
        f"captions; ties count against it. Bold and {SAW} as above."
    )
    return f"{note}\n\n{markdown_table(header, rows)}"


def mean_table(report: ZooReport) -> str:
    """Means over groups of tasks."""
    policies = list(dict.fromkeys(policy for found in report.aggregates for policy in found.committees))
    header = ["mean over", "tasks", *(f"`{name}`" for name in report.backbones), "best per task", "less best fixed"]
    header += [
        "the same on the other half",
        *(f"`{policy}`" for policy in policies),
        "oracle",
        "oracle, others shuffled",
    ]
    rows = []
    for found in report.aggregates:
        choice = found.choice
        backbones = [
            f"**{percent(score)}**" if name == choice.best_fixed else percent(score)
            for name, score in found.backbones.items()
        ]
        committees = [percent(found.committees[p]) if p in found.committees else "" for p in policies]
        rows.append([found.group, str(len(found.tasks)), *backbones, percent(choice.per_task), percent(choice.gap)])
        rows[-1] += [points(choice.honest_gap), *committees, percent(found.oracle), points(found.oracle_shuffled)]
    note = (
        "Every task counts the same, a retrieval set by the mean of its six recalls. Best per task is hindsight: "
        "the choice is made by the very scores that are shown. On the other half: best per task and best fixed are "
        "chosen on one half of every task's pictures and scored on the other."
    )
    return f"{note}\n\n{markdown_table(header, rows)}"


def prompt_table(report: ZooReport) -> str:
    """Which templates stood around the class names."""
    kinds: dict[str, list[str]] = {}
    for task in report.labelled:
        kinds.setdefault(task.picture, []).append(task.task)
    rows = [
        [kind, ", ".join(f"`{template}`" for template in report.templates[kind]), ", ".join(tasks)]
        for kind, tasks in sorted(kinds.items())
    ]
    return markdown_table(["pictures", "templates", "tasks"], rows)
