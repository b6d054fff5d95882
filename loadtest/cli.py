"""`python -m loadtest`: every scenario as a command, and `all` for a whole set of results."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from loadtest import machine, raw, render
from loadtest.client import Arrivals
from loadtest.external import KEY_VARIABLE, external
from loadtest.gateway import GatewayError
from loadtest.images import make_jpegs, read_samples
from loadtest.payload import Shape
from loadtest.plan import FULL, QUICK, Plan
from loadtest.scenarios.bench import Bench
from loadtest.sizing import Demand, Engine, SizingError, sizing
from loadtest.suite import Suite
from loadtest.tower import MODEL, NoTowerError, export_tower

app = typer.Typer(no_args_is_help=True, add_completion=False)

RepositoryOption = Annotated[Path, typer.Option("--repository", help="Model repository to serve.", file_okay=False)]
SamplesOption = Annotated[Path, typer.Option("--samples", help="Photographs the JPEGs are made from.", file_okay=False)]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder of the result files; loadtest/results if left out, with --url var/loadtest.",
        file_okay=False,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Load the gateways behind this address in place of one started here: https://quorum.example. For `closed` "
        f"and `open`. A key goes into {KEY_VARIABLE}.",
    ),
]
QuickOption = Annotated[bool, typer.Option("--quick", help="A short run, to see that everything works.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=0, help="Threads per session; 0: half of the cores.")]
ShapeOption = Annotated[Shape, typer.Option("--shape", help="How an image is sent; raw bytes are the leanest.")]
SettingOption = Annotated[list[str], typer.Option("--setting", help="NAME=VALUE for the gateway (QUORUM_NAME).")]
PolicyOption = Annotated[
    list[str], typer.Option("--policy", help="What to ask; NAME-cached sends the same few images again and again.")
]
ArrivalsOption = Annotated[Arrivals, typer.Option("--arrivals", help="Poisson arrivals or evenly spaced ones.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the Poisson arrivals.")]
TowerOption = Annotated[
    Path | None, typer.Option("--tower", help=f"Model repository with a {MODEL} sized tower; exported if left out.")
]
LoadOption = Annotated[
    list[float],
    typer.Option("--load", min=0.01, help="Share of the measured capacity; may be given several times."),
]
RateOption = Annotated[float, typer.Option("--images-per-second", min=0.001, help="To be answered, at the peak.")]
PoolOption = Annotated[
    list[str],
    typer.Option(
        "--pool",
        help="NAME=BACKBONE,…:SHARE, several may be given: which backbones it serves, and which share of the images a "
        "cascade sends there. One pool of the committee if left out.",
    ),
]
EngineOption = Annotated[Engine, typer.Option("--engine", help="Triton runs the towers, or the gateways themselves.")]
CachedOption = Annotated[float, typer.Option("--cached", min=0, max=1, help="Share of images out of the cache.")]
BusyOption = Annotated[float, typer.Option("--utilisation", min=0.05, max=1, help="Share of its cores a pod may use.")]
SpareOption = Annotated[int, typer.Option("--spare", min=0, help="Pods that may be away at any time, of each kind.")]
GatewayCoresOption = Annotated[
    float, typer.Option("--cores-per-gateway", min=0.1, help="A gateway pod's cores; Triton's: 2 count.")
]
ServerCoresOption = Annotated[float, typer.Option("--cores-per-server", min=0.1, help="A Triton pod's cores.")]
ItemsOption = Annotated[
    int | None, typer.Option("--items", min=100, help="Of the gallery; 100,000 if left out, 5,000 with --quick.")
]

REPOSITORY = Path("model_repository")
SAMPLES = Path("service/playground/samples")
OUT = Path("loadtest/results")
OUT_OF_EXTERNAL = Path("var/loadtest")
NO_SETTINGS: list[str] = []
PLANNED: list[float] = []
ONE_POOL: list[str] = []
POLICIES = ["single", "mean", "mean-cached"]
OPEN_POLICIES = ["mean"]


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the command: it means the same to every scenario."""

    repository: Path
    samples: Path
    out: Path
    plan: Plan
    threads: int
    shape: Shape
    settings: dict[str, str]
    url: str | None

    def suite(self, repository: Path) -> Suite:
        """Everything a scenario needs, for one repository. The gateway is told `threads`, so that raw runs match."""
        if self.url is not None:
            raise typer.BadParameter("Only `closed` and `open` ask gateways behind an address (--url).")
        if not raw.backbones(repository):
            raise typer.BadParameter(f"{repository} holds no image tower (NAME_image/1/model.onnx).")
        jpegs = make_jpegs(read_samples(self.samples), self.plan.images)
        cores = len(os.sched_getaffinity(0))
        threads = self.threads or max(1, cores // 2)
        settings = {"QUORUM_INTRA_OP_THREADS": str(threads)} | self.settings
        bench = Bench(repository, jpegs, settings, self.shape)
        return Suite(bench, self.plan, threads, cores, self.out, _command(), typer.echo)

    def load_suite(self) -> Suite:
        """As `suite`, for the scenarios that need nothing but HTTP."""
        if self.url is None:
            return self.suite(self.repository)
        if self.settings:
            raise typer.BadParameter("--setting is for a gateway that is started here, not for those behind --url.")
        try:
            target = external(self.url, os.environ.get(KEY_VARIABLE))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        jpegs = make_jpegs(read_samples(self.samples), self.plan.images)
        bench = Bench(self.repository, jpegs, shape=self.shape, external=target)
        return Suite(bench, self.plan, 0, 0, self.out, _command().replace(self.url, "ADDRESS"), typer.echo)


@app.callback()
def main(
    context: typer.Context,
    repository: RepositoryOption = REPOSITORY,
    samples: SamplesOption = SAMPLES,
    out: OutOption = None,
    url: UrlOption = None,
    quick: QuickOption = False,
    threads: ThreadsOption = 0,
    shape: ShapeOption = "raw",
    setting: SettingOption = NO_SETTINGS,
) -> None:
    """Start a gateway on 127.0.0.1, load it, write what was measured, and stop it; or load what runs behind --url."""
    settings = {f"QUORUM_{name.upper()}": value for name, _, value in (each.partition("=") for each in setting)}
    plan = QUICK if quick else FULL
    folder = out or (OUT if url is None else OUT_OF_EXTERNAL)
    context.obj = Options(repository, samples, folder, plan, threads, shape, settings, url)


@app.command("closed")
def closed_command(context: typer.Context, policy: PolicyOption = POLICIES) -> None:
    """Images/s and latency at 1, 4, 16 and 64 clients that each wait for their answer."""
    with _load_suite(context) as suite:
        suite.closed(policy)


@app.command("open")
def open_command(
    context: typer.Context,
    policy: PolicyOption = OPEN_POLICIES,
    arrivals: ArrivalsOption = "poisson",
    seed: SeedOption = 0,
    load: LoadOption = PLANNED,
) -> None:
    """Latency from the scheduled arrival at shares of the measured capacity (50, 80 and 120 %); refusals apart."""
    with _load_suite(context) as suite:
        suite.open_(policy, arrivals, seed, load)


@app.command("overhead")
def overhead_command(context: typer.Context) -> None:
    """What a POST takes beyond plain `session.run`, one image at a time, in interleaved pairs."""
    with _suite(context) as suite:
        suite.overhead()


@app.command("throughput")
def throughput_command(context: typer.Context) -> None:
    """Images/s under load as a share of plain `session.run`, for the largest backbone."""
    with _suite(context) as suite:
        suite.throughput()


@app.command("startup")
def startup_command(context: typer.Context) -> None:
    """Seconds from the start of the process to ready, and to the first answer."""
    with _suite(context) as suite:
        suite.startup()


@app.command("gallery")
def gallery_command(context: typer.Context, items: ItemsOption = None) -> None:
    """Searches, recall, memory and restart of a large gallery; pictures/s into one as a share of `session.run`."""
    with _suite(context) as suite:
        suite.gallery(items)


@app.command("cluster")
def cluster_command(context: typer.Context) -> None:
    """Triton against the embedded engine, the embedding cache in Redis, two gateways behind a proxy against one."""
    with _suite(context) as suite:
        suite.cluster()


@app.command("faults")
def faults_command(context: typer.Context) -> None:
    """What callers see while Triton is killed, stalled or deprived of a model, and how soon they are answered again."""
    with _suite(context) as suite:
        suite.faults()


@app.command("all")
def all_command(context: typer.Context, tower: TowerOption = None, policy: PolicyOption = POLICIES) -> None:
    """Every scenario but `gallery`, `cluster`, `faults`; bundled zoo and a tower of ViT-B-32's size; ten minutes."""
    with _suite(context) as suite:
        suite.startup()
        suite.overhead()
        suite.closed(policy)
        suite.open_(OPEN_POLICIES, "poisson", 0)
        suite.throughput()
    with tempfile.TemporaryDirectory(prefix="quorum-load-") as folder, _reported(context):
        options: Options = context.obj
        large = options.suite(tower or export_tower(Path(folder) / MODEL.lower()))
        large.startup()
        large.overhead()
        large.throughput()
        large.closed(["single"])


@app.command("sizing")
def sizing_command(
    context: typer.Context,
    images_per_second: RateOption,
    pool: PoolOption = ONE_POOL,
    engine: EngineOption = "triton",
    cached: CachedOption = 0.0,
    utilisation: BusyOption = 0.6,
    spare: SpareOption = 1,
    cores_per_gateway: GatewayCoresOption = 2.0,
    cores_per_server: ServerCoresOption = 4.0,
) -> None:
    """How many pods a load takes, from the committed results and the repository's GFLOPs; measures nothing."""
    demand = Demand(images_per_second, cached, utilisation, spare, cores_per_gateway, cores_per_server)
    try:
        typer.echo(sizing(context.obj.out, context.obj.repository, pool, demand, engine))
    except SizingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


@app.command("render")
def render_command(context: typer.Context) -> None:
    """Make the results' README.md again from the JSON files."""
    typer.echo(render.write_page(context.obj.out))


@contextmanager
def _suite(context: typer.Context) -> Iterator[Suite]:
    with _reported(context):
        yield context.obj.suite(context.obj.repository)


@contextmanager
def _load_suite(context: typer.Context) -> Iterator[Suite]:
    with _reported(context):
        yield context.obj.load_suite()


def _command() -> str:
    return machine.without_folders(["python", "-m", "loadtest", *sys.argv[1:]])


@contextmanager
def _reported(context: typer.Context) -> Iterator[None]:
    """Foreseen failures in one sentence instead of a traceback; the page is made again from what was written."""
    try:
        yield
    except (GatewayError, NoTowerError, FileNotFoundError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    finally:
        if context.obj.out.is_dir():  # nothing was written where there is none
            render.write_page(context.obj.out)
