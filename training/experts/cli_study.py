"""Commands of `python -m training.experts` around the study of experts. They import what they need when they run."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from training.cli_options import DataDir
from training.experts.cli_scenes import expert_errors

PACK = Path("var/experts/pack.safetensors")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def pack(
    data: DataDir,
    labels: Annotated[
        list[Path], typer.Option("--labels", help="Folder of an expert's labels, one for every task at least.")
    ],
    run: Annotated[list[Path] | None, typer.Option(help="Finished training runs. Default: vit-s and resnet-l.")] = None,
    out: Annotated[Path, typer.Option(help="The file to write.", dir_okay=False)] = PACK,
    side: Annotated[int, typer.Option(help="Side of pictures and labels in pixels.", min=16)] = 96,
) -> None:
    """Pack all that the study of experts reads into one file: pictures, captions, labels, boxes, towers.

    `units` needs nothing else, on whatever machine.
    """
    with expert_errors():
        from training.experts.packs.pack import save_expert_pack
        from training.experts.packs.packing import RUNS, make_expert_pack

        runs = run or [Path("runs") / name for name in RUNS]
        made = make_expert_pack(data, labels, runs, side=side, progress=_say)
        pictures = sum(len(each) for each in made.sets.values())
        typer.echo(f"{out}: {pictures} pictures, {save_expert_pack(out, made) / 1e6:.1f} MB")


def prepare(
    photos: Annotated[
        list[Path],
        typer.Option(help="Folder of the photographs' Parquet files. May be given several times.", file_okay=False),
    ],
    drawings: Annotated[
        Path, typer.Option(help="Folder of built sources (build-data): emoji, clip_art, tux_paint.", file_okay=False)
    ],
    packages: Annotated[
        Path | None, typer.Option(help="Folder of their packages. Default: DRAWINGS/packages.", file_okay=False)
    ] = None,
    run: Annotated[list[Path] | None, typer.Option(help="Finished training runs. Default: vit-s and resnet-l.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the study.", file_okay=False)] = PACK.parent,
    workers: Annotated[int, typer.Option(help="Processes that draw.", min=1)] = 1,
) -> None:
    """Draw the study's scenes and composites, label what is fitted to with the project's experts, and pack it all.

    Some ten minutes of a core. Interrupted, it goes on where it was; `units` needs nothing else.
    """
    with expert_errors():
        from training.experts.composites import Cupboard
        from training.experts.packs.packing import RUNS
        from training.experts.packs.preparing import prepare_study

        cupboard = Cupboard(drawings, packages or drawings / "packages")
        runs = run or [Path("runs") / name for name in RUNS]
        typer.echo(f"{prepare_study(photos, cupboard, runs, out, workers=workers, say=_say)}: packed")


def units(
    out: Annotated[Path, typer.Option(help="Folder of units.jsonl; what is there is not computed again.")],
    packed: Annotated[Path, typer.Option("--pack", help="What pack wrote.", dir_okay=False)] = PACK,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Parts of the study, in order: main, roles, heads, tried, rates. Default: all."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only fits of these labels. Default: all.")] = None,
    tower: Annotated[list[str] | None, typer.Option(help="Only fits of these backbones. Default: all.")] = None,
    workers: Annotated[int, typer.Option(help="Processes on the device. 0: one on a CPU, up to 12 on a GPU.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")] = "auto",
    minutes: Annotated[float, typer.Option(help="Begin no further unit after so long. 0: never.", min=0)] = 0,
) -> None:
    """Fit and probe the study of experts, unit by unit, from a pack alone.

    `python -m training evaluate --suite experts` does the same and reports on it. Interrupted, it goes on where it was.
    """
    with expert_errors():
        from training.data.rows import DataError
        from training.evaluate.experts.grid import PARTS
        from training.evaluate.experts.runner import RunOptions, grid_at, run_study

        options = RunOptions(packed, out, device, workers, minutes, _say, tuple(label or ()), tuple(tower or ()))
        grid, parts = grid_at(packed), tuple(part or PARTS)
        for each in parts:
            grid.units(each)  # an unknown part is told before hours of work
        if unknown := sorted(set(options.towers) - set(grid.towers)):
            raise DataError(f"{packed} has no backbone {', '.join(unknown)}; it has {', '.join(grid.towers)}")
        record = run_study(grid, parts, options)
        typer.echo(f"{out}: {len(record.results)} units")


COMMANDS: dict[str, Callable[..., None]] = {"prepare": prepare, "pack": pack, "units": units}
