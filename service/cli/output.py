"""Where the words go: answers to standard output, everything else to standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

BAR_WIDTH = 24


def say(line: str) -> None:
    """One line as it is: no markup in it, and not broken where the terminal ends."""
    out.print(line, markup=False, soft_wrap=True)


def complain(line: str) -> None:
    err.print(line, markup=False, soft_wrap=True, style="red")


def say_raw(text: str) -> None:
    """Text that a program will read: exactly this and a newline."""
    out.file.write(text if text.endswith("\n") else f"{text}\n")
    out.file.flush()


def bar(share: float) -> RenderableType:
    """A bar for a number between 0 and 1; falls back to plain characters where the terminal has no others."""
    from rich.progress_bar import ProgressBar

    return ProgressBar(total=1.0, completed=share, width=BAR_WIDTH, complete_style="cyan", finished_style="cyan")


def table(*columns: str, numbers: tuple[str, ...] = (), **options: Any) -> Any:
    """A `rich.table.Table` without lines; the columns named in `numbers` are right-aligned."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", title_justify="left", **options)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return made


def gflops(value: float) -> str:
    return f"{value:.3g}"
