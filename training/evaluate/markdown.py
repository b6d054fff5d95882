"""Tables of the evaluation as Markdown."""

from collections.abc import Iterable, Sequence

from training.evaluate.statistics import Score


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(score: Score) -> str:
    """A share with its interval."""
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def points(value: float) -> str:
    """A share without one."""
    return f"{100 * value:.1f}"
