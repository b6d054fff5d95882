"""`quorum jobs …`: fits and calibrations that were begun, here or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from service.cli import options
from service.cli.connection import Target, ask, in_sentences, report_failed_job, talk
from service.cli.output import out, say, table

if TYPE_CHECKING:
    from service.api.schemas import JobOut
    from service.client import AsyncQuorumClient

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Jobs: fits and calibrations. They go on when whoever began them has left.

    Example: `quorum jobs list`
    """,
)

JobId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="As `quorum jobs list` shows it.", callback=options.checked_name, show_default=False
    ),
]


@app.command("list")
def list_(
    label_set: Annotated[str | None, typer.Option(metavar="NAME", help="Those of this label set alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, metavar="N", help="How many at most.")] = 20,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """List jobs, newest first.

    Example: `quorum jobs list --label-set pets`
    """
    from service.client import calls

    page = ask(Target(url), calls.list_jobs(limit, label_set), as_json=as_json)
    if as_json:
        return
    if not page.data:
        say("There are no jobs. `quorum fit` and `quorum calibrate` begin them.")
        return
    shown = table("Job", "Makes", "Label set", "State", "Begun", whole=("Job",))
    for job in page.data:
        state = f"{job.state}, {job.progress:.0%}" if job.state == "running" else job.state
        begun = f"{job.created_at.astimezone():%m-%d %H:%M}"
        shown.add_row(Text(job.id), job.kind, Text(job.label_set), state, begun)
    out.print(shown)


@app.command()
def show(
    job_id: JobId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; Ctrl+C then leaves it alone.")] = False,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Show how far a job is, and what came of it. The exit status is 1 when it failed or was cancelled.

    Example: `quorum jobs show job_660d5a4ed51102a3f01b2f38a27c3 --wait`
    """
    from service.cli.following import follow
    from service.client import calls

    if wait:

        async def conversation(client: AsyncQuorumClient) -> JobOut:
            return await follow(client, job_id, url=url, as_json=as_json, own=False)

        job = talk(Target(url), conversation, as_json=as_json)
    else:
        job = ask(Target(url), calls.job(job_id), as_json=as_json)
    if not as_json:
        with in_sentences():
            _show(job)
    if job.state in ("failed", "cancelled"):
        report_failed_job(job)


@app.command()
def cancel(job_id: JobId, url: options.Url = None, as_json: options.Json = False) -> None:
    """Cancel a job that waits or runs. Nothing of it is activated.

    Example: `quorum jobs cancel job_660d5a4ed51102a3f01b2f38a27c3`
    """
    from service.client import calls

    job = ask(Target(url), calls.cancel_job(job_id), as_json=as_json)
    if not as_json:
        say(f"{job.id}: cancelled.")


def _show(job: JobOut) -> None:
    from service.cli.reports import show_calibration, show_fit
    from service.client import CalibrationResult, FitResult

    if job.state != "succeeded":
        share = f", {job.progress:.0%} done" if job.state == "running" else ""
        say(f"{job.id}: {job.kind} for {job.label_set}, {job.state}{share}.")
    elif job.kind == "controller":
        show_fit(FitResult.of(job), job.label_set)
    else:
        show_calibration(CalibrationResult.of(job), job.label_set)
