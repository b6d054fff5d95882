"""The program and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.calibrate import calibrate
from service.cli.classify import classify
from service.cli.fit import fit
from service.cli.galleries import app as galleries
from service.cli.index import index
from service.cli.jobs import app as jobs
from service.cli.keys import app as keys
from service.cli.labels import app as labels
from service.cli.models import models
from service.cli.output import out
from service.cli.search import search
from service.cli.serve import serve

DISTRIBUTION = "quorum-serve"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # they hold keys and images
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve)
app.command()(classify)
app.command()(fit)
app.command()(calibrate)
app.command()(index)
app.command()(search)
app.command()(models)
app.add_typer(labels, name="labels")
app.add_typer(galleries, name="galleries")
app.add_typer(jobs, name="jobs")
app.add_typer(keys, name="keys")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        out.print(f"quorum {version(DISTRIBUTION)}", highlight=False)
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A committee of CLIP backbones behind one API.

    `quorum serve` starts the server, `quorum keys` edits its file of API keys. The other commands talk to a server
    that --url (or QUORUM_CLIENT_URL) names, and without one do the same work in their own process, on the model
    repository and the state that the QUORUM_… variables configure.

    Exit status: 0 done (also when a fit was refused for being no better), 1 a request, one of its images or a job
    failed, 2 used wrongly, 3 could not start, 130 interrupted.
    """
