"""Commands of `python -m training` around adapters. They import what they need when they run, as in `cli`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from training.cli_errors import adapter_errors, one_sentence
from training.cli_options import DataDir, Plan


def adapt(
    data: DataDir,
    backbone: Annotated[str, typer.Option(help="Folder of a training run, or NAME:TAG of OpenCLIP.")],
    adapter: Annotated[str, typer.Option(help="Name of a design: msa-lo, msa, both-pyramid, clip-adapter, ...")],
    out: Annotated[Path | None, typer.Option(help="Folder of the fit. Default: runs/BACKBONE-ADAPTER.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Sources to fit on. Default: all that there are.")] = None,
    epochs: Annotated[int, typer.Option(help="Times that every picture is seen.", min=1)] = 5,
    batch_size: Annotated[int, typer.Option(help="Pairs in a batch; the paper has 256 or 128.", min=2)] = 256,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-3,
    seed: Annotated[int, typer.Option(help="Of the adapter's start and of everything drawn.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")] = "auto",
    bf16: Annotated[bool, typer.Option("--bf16", help="Run the towers under bfloat16 autocast.")] = False,
) -> None:
    """Fit an adapter ensemble to a frozen backbone, or go on with a fit that was interrupted.

    It learns from the rows of the `fit` split, which train no tower. The folder holds the adapter alone, with its
    design; the checkpoint; the curve (CSV and plot). Several processes share the work when `torchrun -m training adapt
    …` starts them.
    """
    with one_sentence(), adapter_errors():
        from training.adapters.adapt import choose_device
        from training.adapters.adapt_config import AdaptConfig, AdaptSchedule
        from training.adapters.command import adapt_backbone
        from training.adapters.design import design
        from training.distributed import world

        schedule = AdaptSchedule(epochs=epochs, batch_size=batch_size, peak_lr=rate, bf16=bf16)
        sources = tuple(source or ())
        config = AdaptConfig(backbone=backbone, design=design(adapter), sources=sources, seed=seed, schedule=schedule)
        folder = out or Path("runs") / f"{Path(backbone).name.replace(':', '-')}-{adapter}"
        with world() as processes:
            run = adapt_backbone(
                config, data, folder, device=choose_device(device), world=processes, show=_to_stderr(processes.leads)
            )
        if processes.leads:
            added = sum(run.state.adapted.added().values())
            typer.echo(f"{folder}: {run.state.step} steps on {run.pictures} pictures, {added} parameters added")


def _to_stderr(speaks: bool) -> Callable[[str], None]:
    return lambda line: typer.echo(line, err=True) if speaks else None


def adapter_pack(
    data: DataDir,
    run: Annotated[Path, typer.Option(help="Folder of the run whose tower is adapted.", file_okay=False)] = Path(
        "runs/vit-s"
    ),
    out: Annotated[Path, typer.Option(help="The file to write.", dir_okay=False)] = Path(
        "var/adapters/pack.safetensors"
    ),
) -> None:
    """Pack all that the adapter experiments read into one file: pictures, texts, tokenizer and frozen weights.

    `adapter-units` needs nothing else, on whatever machine.
    """
    with one_sentence():
        from training.adapters.pack import save_pack
        from training.adapters.packing import make_pack

        pack = make_pack(data, run, progress=_to_stderr(True))
        typer.echo(f"{out}: {len(pack.rows)} pictures, {save_pack(out, pack) / 1e6:.1f} MB")


def adapter_units(
    out: Annotated[Path, typer.Option(help="Folder of units.jsonl; what is there is not computed again.")],
    pack: Annotated[Path, typer.Option(help="What adapter-pack wrote.", dir_okay=False)] = Path(
        "var/adapters/pack.safetensors"
    ),
    part: Annotated[list[str] | None, typer.Option(help="Parts of the grid, in order. Default: all.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Designs by label. Default: all.")] = None,
    seeds: Annotated[int, typer.Option(help="Fits of every unit.", min=1)] = 5,
    workers: Annotated[int, typer.Option(help="Processes on the device. 0: one on a CPU, up to 12 on a GPU.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")] = "auto",
    minutes: Annotated[float, typer.Option(help="Begin no further unit after so long. 0: never.", min=0)] = 0,
    batch_size: Annotated[int, typer.Option(help="Pairs in a batch; the paper has 256 or 128.", min=2)] = 256,
    bf16: Annotated[bool, typer.Option("--bf16", help="Fit under bfloat16 autocast; --plan cpu always does.")] = False,
    plan: Annotated[Plan, typer.Option(help="All fits, or what one CPU manages in about eight hours.")] = Plan.FULL,
) -> None:
    """Fit and measure the adapter experiments, unit by unit, from a pack alone.

    `evaluate --suite adapters` does the same and reports on it; this is for another machine, with a GPU. Interrupted,
    it goes on where it was.
    """
    with one_sentence(), adapter_errors():
        from training.evaluate.adapters.plans import make_grid
        from training.evaluate.adapters.runner import RunOptions, run_grid

        grid = make_grid(plan, seeds=range(seeds), labels=label or (), batch_size=batch_size, bf16=bf16)
        options = RunOptions(pack, out, device, workers, minutes, progress=_to_stderr(True))
        record = run_grid(grid, part or grid.PARTS, options)
        typer.echo(f"{out}: {len(record.results)} units")


def adapt_timing(
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")] = "auto",
    batch: Annotated[int, typer.Option(help="Inputs per forward pass.", min=1)] = 32,
    width: Annotated[int, typer.Option(help="Of the tower; 768 is ViT-B/16.", min=1)] = 768,
    tokens: Annotated[int, typer.Option(help="Positions of one input; ViT-B/16 has 197.", min=1)] = 197,
    runs: Annotated[int, typer.Option(help="Of which the fastest counts.", min=1)] = 100,
    units: Annotated[
        Path | None, typer.Option(help="Folder of fits: keep it there, for the page of the adapters suite.")
    ] = None,
) -> None:
    """Time the low-rank ensemble after a feed-forward part: one branch, three in turn, three as one product."""
    with one_sentence():
        from training.adapters.adapt import choose_device
        from training.adapters.timing import Load, timing_table

        load = Load(batch, tokens, width, runs)
        if units is None:  # on a machine that has torch and little else
            typer.echo(timing_table(choose_device(device), load))
            return
        from training.evaluate.adapters.appendix import form_table
        from training.evaluate.adapters.timed import keep_timing, measure_timing

        timing = measure_timing(choose_device(device), load)
        keep_timing(units, timing)
        typer.echo(form_table(timing.seconds))


COMMANDS: dict[str, Callable[..., None]] = {
    "adapt": adapt,
    "adapter-pack": adapter_pack,
    "adapter-units": adapter_units,
    "adapt-timing": adapt_timing,
}
