"""The command of `python -m training.experts` that fine-tunes. It imports what it needs when it runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli_options import DataDir
from training.config import ConfigError
from training.data.splits import Split
from training.experts.cli_scenes import expert_errors

if TYPE_CHECKING:
    from training.experts.fitting.losses import Weights


def fit(
    run: Annotated[
        str,
        typer.Option(
            "--run",
            "--backbone",
            help="What to begin with: folder of a training run, or NAME:TAG of OpenCLIP. After torchrun, which has an "
            "option of its own that begins so, write --backbone.",
        ),
    ],
    data: DataDir,
    source: Annotated[list[str] | None, typer.Option(help="Sources to fit on. Default: all that there are.")] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of an expert's labels, or of several such folders.", file_okay=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the fit. Default: runs/NAME-cliptex, or -ft without experts.")
    ] = None,
    side: Annotated[
        list[int] | None,
        typer.Option(help="Sizes of pictures; each step draws one, and the first is served. Default: its own.", min=1),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Task that is switched off: classes, depth, normals. All three: CLIP-FT.")
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="Factor of a term, as depth=0.5. Default: clip 1, classes 0.1, others 1.")
    ] = None,
    layers: Annotated[int, typer.Option(help="Of a task's head: 1 or 3.")] = 1,
    balance: Annotated[
        float, typer.Option(help="How much more rare classes count: 0 all pixels alike, 1 all classes.", min=0, max=1)
    ] = 0.0,
    split: Annotated[
        list[Split] | None, typer.Option(help="Rows to fit on: tower-train (the default), fit, or both.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Times that every picture is seen.", min=1)] = 30,
    batch_size: Annotated[int, typer.Option(help="Pairs in a batch, over all processes.", min=2)] = 32,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-5,
    warmup: Annotated[int, typer.Option(help="Steps until the rate is at its peak.", min=0)] = 1000,
    checkpoint: Annotated[int, typer.Option(help="Steps between checkpoints, which a kill may cost.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Of the heads' start and of everything drawn.", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="That read and decode pictures, in every process.", min=1)] = 4,
    index: Annotated[
        Path, typer.Option(help="Folder that keeps where pictures lie, between fits.", file_okay=False)
    ] = Path("var/experts/index"),
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")] = "auto",
    bf16: Annotated[bool, typer.Option("--bf16", help="Run the towers under bfloat16 autocast.")] = False,
) -> None:
    """Fine-tune a backbone by captions and by experts' labels (CLIPTeX), or go on with a fit that was interrupted.

    Pictures stay where they are until a batch needs them, so WebDataset shards may hold millions. The folder holds the
    model without the heads, the checkpoint, curve and terms; `python -m training export` takes it like any run. Several
    processes share every batch when `torchrun -m training.experts fit …` starts them.
    """
    with expert_errors():
        from training.adapters.adapt import choose_device
        from training.adapters.command import load_backbone
        from training.distributed import own_device, world
        from training.experts.fitting.command import FitData, FitOrder, fit_on_data
        from training.experts.fitting.config import FitSchedule

        if layers not in (1, 3):
            raise ConfigError("--layers: heads have 1 or 3 layers")
        if not math.isfinite(rate):
            raise ConfigError(f"--rate: {rate} is no number to learn by")
        order = FitOrder(
            without=frozenset(without or ()),
            sides=tuple(side or ()),
            weights=parse_weights(weight or ()),
            layers=3 if layers == 3 else 1,
            balance=balance,
            seed=seed,
            schedule=FitSchedule(
                epochs=epochs,
                batch_size=batch_size,
                peak_lr=rate,
                warmup_steps=warmup,
                checkpoint_steps=checkpoint,
                bf16=bf16,
            ),
        )
        what = FitData(
            data=tuple(data),
            sources=tuple(source or ()),
            splits=parse_splits(split or ()),
            labels=tuple(labels or ()),
            index=index,
            threads=threads,
        )
        with world() as processes:
            backbone = load_backbone(run)
            folder = out or Path("runs") / f"{backbone.name}-{'cliptex' if order.active else 'ft'}"
            done = fit_on_data(
                backbone,
                run,
                what,
                order,
                folder,
                device=own_device(choose_device(device)),
                world=processes,
                show=_to_stderr(processes.leads),
                progress=processes.leads,
            )
        if processes.leads:
            typer.echo(f"{folder}: {done.state.step} steps on {done.pictures} pictures in {done.seconds / 60:.1f} min")


def _to_stderr(speaks: bool) -> Callable[[str], None]:
    return lambda line: typer.echo(line, err=True) if speaks else None


def parse_weights(words: Sequence[str]) -> "Weights":
    """The factors of equation 1, with those that `words` change. Raises `ConfigError`."""
    from training.experts.fitting.losses import Weights

    known = [each.name for each in fields(Weights)]
    changed: dict[str, float] = {}
    for word in words:
        name, _, factor = word.partition("=")
        try:
            changed[name] = float(factor)
        except ValueError as error:
            raise ConfigError(f'--weight {word}: write a term and its factor, as "depth=0.5"') from error
        if not math.isfinite(changed[name]):
            raise ConfigError(f"--weight {word}: {factor} is no factor")
        if name not in known:
            raise ConfigError(f'--weight {word}: there is no term "{name}"; there are {", ".join(known)}')
    try:
        return Weights(**changed)
    except ValueError as error:
        raise ConfigError(f"--weight: {error}") from error


def parse_splits(splits: Sequence[Split]) -> tuple[Split, ...]:
    """What may be fitted on. Raises `ConfigError` for splits that later fits and the evaluation are measured by."""
    for split in splits:
        if split not in (Split.TOWER_TRAIN, Split.FIT):
            raise ConfigError(
                f"--split {split}: nothing is fitted on it; there are {Split.TOWER_TRAIN} and {Split.FIT}"
            )
    return tuple(dict.fromkeys(splits)) or (Split.TOWER_TRAIN,)


COMMANDS: dict[str, Callable[..., None]] = {"fit": fit}
