"""Commands of `python -m training.experts` around composites. They import what they need when they run."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from training.experts.cli_scenes import Side, expert_errors


def composites(
    name: Annotated[str, typer.Option(help="Of the source: its rows are in OUT/NAME.parquet.")],
    count: Annotated[int, typer.Option(help="Number of pictures.", min=1)],
    seed: Annotated[int, typer.Option(help="Of the first picture; the next one has the next.", min=0)],
    drawings: Annotated[
        Path, typer.Option(help="Folder of built sources (build-data): emoji, clip_art, tux_paint.", file_okay=False)
    ],
    data: Annotated[
        list[Path],
        typer.Option(help="Folder of the photographs' Parquet files. May be given several times.", file_okay=False),
    ],
    backgrounds: Annotated[str, typer.Option(help="Sources in DATA, separated by commas, of the photographs.")],
    packages: Annotated[
        Path | None, typer.Option(help="Folder of their packages. Default: DRAWINGS/packages.", file_okay=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of sources.", file_okay=False)] = Path("var/experts/data"),
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.", min=16)] = 96,
    split: Annotated[Side, typer.Option(help="Of the rows, the drawings and the photographs.")] = Side.TRAIN,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
) -> None:
    """Lay drawings before photographs, as a source: pictures with captions and boxes, and exact class maps.

    The maps are a store in OUT/labels/NAME. Interrupted, it goes on where it was; equal options give equal files.
    """
    with expert_errors():
        from training.experts.composites import Cupboard, write_composites
        from training.experts.scene_source import Photographs

        sources = tuple(each.strip() for each in backgrounds.split(",") if each.strip())
        path = write_composites(
            out,
            name,
            count=count,
            seed=seed,
            cupboard=Cupboard(drawings, packages or drawings / "packages"),
            photographs=Photographs(list(data), sources),
            size=size,
            test=split is Side.TEST,
            workers=workers,
            progress=True,
        )
        typer.echo(f"{path}: {count} composites of {size} pixels")


COMMANDS: dict[str, Callable[..., None]] = {"composites": composites}
