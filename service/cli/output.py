"""Where the words go: answers to standard output, everything else to standard error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

BAR_WIDTH = 24
KIB: Final = 1024
SHOWN: Final = 5
"""Of names in a sentence; the rest is counted."""


def say(line: str) -> None:
    """One line as it is: no markup in it, and not broken where the terminal ends."""
    out.print(line, markup=False, soft_wrap=True)


def complain(line: str) -> None:
    err.print(line, markup=False, soft_wrap=True, style="red")


def note(line: str) -> None:
    """Beside the answer, and nothing to mend."""
    err.print(line, markup=False, soft_wrap=True, style="dim")


def warn(line: str) -> None:
    err.print(line, markup=False, soft_wrap=True, style="yellow")


def say_raw(text: str) -> None:
    """Text that a program will read: exactly this and a newline."""
    out.file.write(text if text.endswith("\n") else f"{text}\n")
    out.file.flush()


def bar(share: float) -> RenderableType:
    """A bar for a number between 0 and 1; falls back to plain characters where the terminal has no others."""
    from rich.progress_bar import ProgressBar

    return ProgressBar(total=1.0, completed=share, width=BAR_WIDTH, complete_style="cyan", finished_style="cyan")


def table(*columns: str, numbers: tuple[str, ...] = (), whole: tuple[str, ...] = (), **options: Any) -> Any:
    """A `rich.table.Table` without lines; columns in `numbers` are right-aligned, those in `whole` never broken."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", title_justify="left", **options)
    for column in columns:
        made.add_column(
            column, justify="right" if column in numbers else "left", overflow="fold", no_wrap=column in whole
        )
    return made


def gflops(value: float) -> str:
    return f"{value:.3g}"


def count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def listed(names: Sequence[str]) -> str:
    """`"a", "b" and 3 more`; undecodable parts of file names are replaced."""
    shown = ", ".join(f'"{name}"' for name in map(printable, names[:SHOWN]))
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def printable(name: str | Path) -> str:
    """A file's name, whatever bytes are in it."""
    return str(name).encode("utf-8", "replace").decode()


def size(number: int) -> str:
    """`312 bytes`, `1.5 MiB`"""
    if number < KIB:
        return f"{number} bytes"
    return f"{number / KIB:,.1f} KiB" if number < KIB**2 else f"{number / KIB**2:,.1f} MiB"


def promise(epsilon: float, delta: float) -> str:
    return f"with probability {1 - delta:.4g}, at most {100 * epsilon:.4g}% of answers differ from the full committee's"
