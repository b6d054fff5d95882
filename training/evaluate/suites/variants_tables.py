"""The variants report as Markdown. Percentages and points throughout; everything comes from the report alone."""

from collections.abc import Iterable
from typing import Final

from training.evaluate.markdown import markdown_table, percent
from training.evaluate.statistics import Score
from training.evaluate.suites.variants_report import EVERYTHING, Compared, VariantReport, VariantsReport

REPORT: Final = "variants.json"
FITTED: Final = " \\*"
HEADER: Final = ("its base", "the variant", "committee", "committee with it", "committee gains", "variant over base")


def tables(report: VariantsReport) -> str:
    """Everything, as one document."""
    parts = [
        "# Variants beside the committee",
        f"Written by `python -m training evaluate --suite variants` ({report.machine}) from [{REPORT}]({REPORT}). The "
        f"committee: {_names(report.committee)}, by the mean of their probabilities (of their scores in retrieval). "
        f"Percent, differences in points; in brackets {report.interval}. Labelled tasks: top-1 accuracy, balanced "
        "where classes are not; retrieval: the mean of recall at 1, 5 and 10 in both directions.",
    ]
    for variant in report.variants:
        parts += [f"## {variant.name}", verdict(variant), mean_table(variant), task_table(variant)]
    return "\n\n".join(parts) + "\n"


def should_vote(variant: VariantReport) -> bool:
    """Whether the committee is surely better with it, over all tasks alike, and not surely worse elsewhere than on the
    sources that it was fitted on."""
    gains = {group: scores.gain for group, scores in variant.means.items()}
    return gains[EVERYTHING].low > 0 and all(gain.high >= 0 for gain in gains.values())


def verdict(variant: VariantReport) -> str:
    """Whether it should vote by default, and whether it does."""
    gain = variant.means[EVERYTHING].gain
    better = f"The committee gains {difference(gain)} points over all tasks with it"
    should = "it should vote by default" if should_vote(variant) else "it should vote only where it is asked"
    does = "votes by default" if variant.votes == "by_default" else "votes only where a request names it"
    sources = ", ".join(variant.fitted_on) or "sources that are not stated"
    return (
        f"Made from `{variant.base}` by fitting on {sources}. {better}: {should} "
        "(rule: by default where that gain is surely above 0, and none of the groups below surely loses). "
        f"In the bundled zoo it {does}."
    )


def mean_table(variant: VariantReport) -> str:
    """Means over groups of tasks."""
    rows = [[group, *_cells(scores)] for group, scores in variant.means.items()]
    return markdown_table(["mean over", *HEADER], rows)


def task_table(variant: VariantReport) -> str:
    """Task by task."""
    rows = [
        [
            task.task + FITTED * task.fitted,
            "retrieval" if task.classes is None else f"{task.classes} classes",
            str(task.items),
            *_cells(task.scores),
        ]
        for task in variant.tasks
    ]
    table = markdown_table(["task", "kind", "pictures", *HEADER], rows)
    return f"{table}\n\n{FITTED.strip()} A source that the variant was fitted on (other pictures)."


def difference(score: Score) -> str:
    """A difference of shares in points, with its sign and interval."""
    return f"{100 * score.value:+.1f} [{100 * score.low:+.1f}, {100 * score.high:+.1f}]"


def _cells(scores: Compared) -> list[str]:
    shares = [percent(each) for each in (scores.base, scores.alone, scores.committee, scores.joined)]
    return [*shares, difference(scores.gain), difference(scores.over_base)]


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
