"""`python -m training`: training, export and evaluation of the zoo."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

# Commands import what they need when they run: torch and OpenCLIP take seconds that `--help` should not.

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

DataDir = Annotated[Path, typer.Option("--data", help="Folder of Parquet files, one per source.", file_okay=False)]
OptionalDataDir = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of Parquet files; without it the temperature stays 1.", file_okay=False),
]
Repository = Annotated[Path, typer.Option("--out", help="Model repository to write into.", file_okay=False)]
Half = Annotated[
    bool, typer.Option("--half/--full", help="Store weights as float16 (computing stays float32), or as float32.")
]


@app.callback()
def main() -> None:
    """Train, export and evaluate CLIP backbones."""
    # OpenCLIP logs a warning for every model that it initialises at random, which is what training starts from.
    logging.getLogger().setLevel(logging.ERROR)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Errors that the user can mend end the program with their message and status 1, without a traceback."""
    from service.errors import QuorumError
    from training.checkpoint import CheckpointError
    from training.config import ConfigError
    from training.data.parquet import DataError
    from training.export.errors import ExportError

    try:
        yield
    except (CheckpointError, ConfigError, DataError, ExportError, QuorumError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Configuration of the run (TOML).", show_default=False)],
    data: DataDir,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/NAME.")] = None,
) -> None:
    """Train one backbone, or go on with a run that was interrupted.

    The folder of the run holds the checkpoint, the tokenizer, the curve (CSV and plot) and in the end the weights.
    """
    with one_sentence():
        from training.config import load_config
        from training.data.samples import load_samples
        from training.data.splits import Split
        from training.models.towers import zoo_preprocessing
        from training.train import train as run

        settings = load_config(config)
        preprocessing, progress = zoo_preprocessing(settings.model), sys.stderr.isatty()
        samples = load_samples(data, Split.TOWER_TRAIN, settings.data.sources, preprocessing, progress=progress)
        state = run(settings, samples, out or Path("runs") / settings.name)
        typer.echo(f"{settings.name}: {state.step} steps on {len(samples)} images in {state.seconds / 60:.1f} minutes")


@app.command()
def export(
    runs: Annotated[list[Path], typer.Argument(help="Folders of training runs.", show_default=False)],
    data: OptionalDataDir = None,
    out: Repository = Path("model_repository"),
    half: Half = True,
) -> None:
    """Export training runs into a model repository, parity with torch checked.

    With --data the backbone's temperature is fitted on the labelled rows of the `fit` split. A run that is still going
    on is exported from its latest checkpoint.
    """
    with one_sentence():
        from training.export.backbone import write_backbone
        from training.export.report import summary
        from training.export.run import load_run
        from training.export.temperature import temperature_fitter

        fitter = None if data is None else temperature_fitter(data)
        for run in runs:
            backbone = load_run(run)
            graphs = write_backbone(out, backbone, half=half, fit_temperature=fitter)
            typer.echo(summary(backbone, graphs))


@app.command("export-openclip")
def export_openclip(
    name: Annotated[str, typer.Argument(help="OpenCLIP model name, e.g. ViT-B-32-quickgelu.", show_default=False)],
    pretrained: Annotated[str, typer.Argument(help="Tag of the weights, e.g. openai.")] = "openai",
    out: Repository = Path("model_repository"),
    data: OptionalDataDir = None,
    half: Half = False,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="The real architecture with random weights (tests, benchmarks).")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of random weights.")] = 0,
) -> None:
    """Export an OpenCLIP model by name and tag into a model repository.

    The weights come from the local cache or the network. The tokenizer file is made from OpenCLIP's vocabulary, the
    preprocessing from the model's own configuration.
    """
    with one_sentence():
        from training.export.backbone import write_backbone
        from training.export.openclip import load_openclip
        from training.export.report import summary
        from training.export.temperature import temperature_fitter

        backbone = load_openclip(name, pretrained, random_weights=random_weights, seed=seed)
        fitter = None if data is None else temperature_fitter(data)
        typer.echo(summary(backbone, write_backbone(out, backbone, half=half, fit_temperature=fitter)))


@app.command()
def evaluate(
    data: DataDir,
    repository: Annotated[Path, typer.Option(help="Model repository to evaluate.", file_okay=False)] = Path(
        "model_repository"
    ),
    out: Annotated[Path, typer.Option(help="JSON file for the results.", dir_okay=False)] = Path("evaluation.json"),
) -> None:
    """Measure every exported backbone and the plain committees on the test splits.

    The exported files are run by ONNX Runtime and combined by the gateway's own functions. Prints a Markdown table with
    95% bootstrap intervals.
    """
    with one_sentence():
        from training.evaluate.suite import as_json, as_table
        from training.evaluate.suite import evaluate as run

        zoo, results = run(data, repository)
        typer.echo(as_table(results))
        out.write_text(json.dumps(as_json(zoo, results), indent=2) + "\n", encoding="utf-8")
        typer.echo(f"written to {out}")
