"""`python -m training.experts`: pseudo-labels for folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.model_config import Preprocessing, ResizeMode
from training.cli_errors import one_sentence
from training.cli_options import DataDir
from training.data.rows import DataError
from training.experts import cli_composites, cli_fit, cli_scenes, cli_study
from training.experts.errors import ExpertError
from training.experts.known import EXPERTS, load_expert

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for name, command in (cli_scenes.COMMANDS | cli_composites.COMMANDS | cli_fit.COMMANDS | cli_study.COMMANDS).items():
    app.command(name)(command)


@app.callback()
def main() -> None:
    """Experts and their labels."""


@app.command()
def label(
    data: DataDir,
    expert: Annotated[str, typer.Option(help=f"One of {', '.join(EXPERTS)}.")],
    out: Annotated[Path | None, typer.Option(help="Folder of labels. Default: DATA/labels.", file_okay=False)] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only these sources. Default: all.")] = None,
    size: Annotated[int, typer.Option(help="Side of pictures and labels in pixels; 512 in the paper.", min=16)] = 128,
    map_size: Annotated[
        int, typer.Option(help="Side of the maps that are kept; 0 for that of the pictures. Heads are coarse.", min=0)
    ] = 0,
    resize: Annotated[
        ResizeMode, typer.Option(help="How pictures become square: as for the tower that is to learn from the labels.")
    ] = "shortest",
    shard: Annotated[str, typer.Option(help="Which part of the images, as i/n; the first of four is 0/4.")] = "0/1",
    batch_size: Annotated[int, typer.Option(help="Pictures that the expert sees at once.", min=1)] = 8,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")] = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder of another expert of scenes than ours, or of foreground's package.",
            file_okay=False,
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try images again on which the expert failed.")] = False,
) -> None:
    """Label images with an expert, into a folder of its name. Interrupted, it goes on where it was.

    Pictures are cut as towers of the zoo see them: the shorter side resized, the middle taken. Some of OpenCLIP's take
    the whole picture, squashed; `fit` says so.
    """
    with one_sentence():
        from training.data.sources import available_sources, read_rows
        from training.experts.labels.run import LabelSettings, label_rows, parse_shard

        try:
            seen = Preprocessing(size, resize, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
            settings = LabelSettings(seen, parse_shard(shard), batch_size, retry=retry, map_size=map_size)
            rows = read_rows(data, source or available_sources(data))
            folder = (out or data[0] / "labels") / expert
            tally = label_rows(rows, load_expert(expert, device, weights=weights), folder, settings, progress=True)
        except ExpertError as error:
            raise DataError(str(error)) from error
        typer.echo(f"{folder}: {tally.labelled} labelled, {tally.failed} failed, {tally.known} known already")


if __name__ == "__main__":
    app()
