"""Commands of `python -m training.experts` around scenes. They import what they need when they run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.cli_errors import one_sentence
from training.data.rows import DataError
from training.experts.errors import ExpertError


class Side(StrEnum):
    """Rows of which side of a source's split."""

    TRAIN = "train"
    TEST = "test"


SomeData = Annotated[
    list[Path] | None,
    typer.Option(
        "--data", help="Folder of Parquet files, one per source. May be given several times.", file_okay=False
    ),
]


@contextmanager
def expert_errors() -> Iterator[None]:
    """Errors that the user can mend end the program with one sentence."""
    with one_sentence():
        try:
            yield
        except ExpertError as error:
            raise DataError(str(error)) from error
        except FloatingPointError as error:
            raise DataError(f"{error}; begin anew in another folder, with a lower --rate") from error


def scenes(
    name: Annotated[str, typer.Option(help="Of the source: its rows are in OUT/NAME.parquet.")],
    count: Annotated[int, typer.Option(help="Number of scenes.", min=1)],
    seed: Annotated[int, typer.Option(help="Of the first scene; the next one has the next.", min=0)],
    out: Annotated[Path, typer.Option(help="Folder of sources.", file_okay=False)] = Path("var/experts/data"),
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.", min=16)] = 96,
    data: SomeData = None,
    backgrounds: Annotated[
        str, typer.Option(help="Sources in DATA, separated by commas, whose photographs stand behind some scenes.")
    ] = "",
    share: Annotated[float, typer.Option(help="Of the scenes that have a photograph behind.", min=0, max=1)] = 0.4,
    split: Annotated[Side, typer.Option(help="Of the rows, and of the photographs behind them.")] = Side.TRAIN,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
) -> None:
    """Draw scenes as a source: pictures with captions and boxes, and exact class maps, depths and normals.

    Labels are stores in OUT/labels/NAME. Interrupted, it goes on where it was; equal options give equal files.
    """
    with expert_errors():
        from training.experts.scene_source import Photographs, write_scenes

        sources = tuple(each.strip() for each in backgrounds.split(",") if each.strip())
        if bool(sources) != bool(data):
            raise ExpertError("photographs behind scenes need both --data and --backgrounds.")
        photographs = Photographs(list(data), sources, share) if data else None
        path = write_scenes(
            out,
            name,
            count=count,
            seed=seed,
            size=size,
            test=split is Side.TEST,
            photographs=photographs,
            workers=workers,
            progress=True,
        )
        typer.echo(f"{path}: {count} scenes of {size} pixels")


def train(
    task: Annotated[str, typer.Argument(help="classes, depth or normals.")],
    data: Annotated[list[Path], typer.Option("--data", help="Folder of sources with exact labels.", file_okay=False)],
    source: Annotated[str, typer.Option(help="Source of scenes to learn from.")] = "scenes_experts",
    held_out: Annotated[str, typer.Option(help="Source of scenes to measure on; empty for none.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder. Default: runs/experts/TASK.", file_okay=False)] = None,
    epochs: Annotated[int, typer.Option(help="Times that every picture is seen.", min=1)] = 16,
    batch_size: Annotated[int, typer.Option(help="Pictures in a batch.", min=2)] = 32,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(help="Of the network's start and of everything drawn.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")] = "auto",
) -> None:
    """Train an expert on scenes, or go on with a training that was interrupted, and measure it.

    The folder holds the weights, a checkpoint, the curve (CSV and plot) and the accuracy on scenes that it did not see,
    beside that of answers that know no picture.
    """
    with expert_errors():
        from training.adapters.adapt import choose_device
        from training.experts.nets.command import train_expert
        from training.experts.nets.config import NetSchedule

        folder = out or Path("runs/experts") / task
        found = train_expert(
            task,
            data,
            source,
            folder,
            held_out=held_out or None,
            schedule=NetSchedule(epochs=epochs, batch_size=batch_size, peak_lr=rate),
            seed=seed,
            device=choose_device(device),
            show=lambda line: typer.echo(line, err=True),
        )
        typer.echo(f"{folder}: {found}")


def sheet(
    weights: Annotated[
        list[Path], typer.Option(help="Folder of an expert's training; several times.", file_okay=False)
    ],
    data: Annotated[list[Path], typer.Option("--data", help="Folder of sources.", file_okay=False)],
    source: Annotated[list[str], typer.Option(help="Of the pictures; several times.")],
    out: Annotated[Path, typer.Option(help="The PNG to write; what is on it goes into a JSON beside it.")],
    count: Annotated[int, typer.Option(help="Pictures of each source.", min=1)] = 12,
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.", min=16)] = 96,
    across: Annotated[int, typer.Option(help="Pictures in a row of the page.", min=1)] = 2,
) -> None:
    """Show what experts answer: pictures beside exact labels, where there are such, and answers.

    The JSON says where each picture is from and its licence: publish no sheet with one that may not be shown.
    """
    with expert_errors():
        from training.experts.nets.experts import NetExpert, read_weights
        from training.experts.nets.sheet import make_sheet

        experts = [NetExpert(config, tensors) for config, tensors, _ in map(read_weights, weights)]
        page = make_sheet(experts, data, source, count=count, size=size, across=across)
        page.save(out)
        licences = ", ".join(sorted({each["licence"] for each in page.pictures}))
        typer.echo(f"{out}: {len(page.pictures)} pictures; licences: {licences}")


COMMANDS: dict[str, Callable[..., None]] = {"scenes": scenes, "train": train, "sheet": sheet}
