"""Options that several commands of `python -m training` share."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    list[Path],
    typer.Option(
        "--data", help="Folder of Parquet files, one per source. May be given several times.", file_okay=False
    ),
]
