"""Options that several commands of `python -m training` share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    list[Path],
    typer.Option(
        "--data", help="Folder of Parquet files, one per source. May be given several times.", file_okay=False
    ),
]


class Plan(StrEnum):
    """Which fits of the adapter experiments are made."""

    FULL = "full"
    CPU = "cpu"
