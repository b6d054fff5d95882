"""The body of `python -m training build-data`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from training.data.builders.check import check
from training.data.builders.run import build
from training.data.rows import DataError


def build_command(out: Path, sources: Sequence[str], packages: Path | None) -> str:
    """Build, with a progress bar on a terminal; the answer is a line per source. Raises `DataError`."""
    rows = build(out, sources, packages, progress=sys.stderr.isatty())
    return "\n".join(f"{out / name}.parquet: {train} train, {test} test rows" for name, (train, test) in rows.items())


def check_command(out: Path) -> str:
    """Check what was built in `out`. Raises `DataError` with everything that is wrong."""
    problems = check(out)
    if problems:
        raise DataError(f"{out}: {'; '.join(problems)}")
    return f"{out}: files as in the manifest; no picture, near copy or held-out concept on both sides of a split"
