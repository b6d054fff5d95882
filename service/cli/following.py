"""A job from the call that begins it to its result, with a progress bar in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn

import typer

from service.cli.connection import FAILED
from service.cli.output import BAR_WIDTH, complain, err, note, say_raw

if TYPE_CHECKING:
    from rich.progress import Progress

    from service.api.schemas import JobOut
    from service.client import AsyncQuorumClient, Call, ClientError

GRACE_S: Final = 3.0
"""How long Ctrl+C waits for the answer to a call that is on its way: a job that nobody knows of cannot be cancelled."""

STATES: Final = {"queued": "Waiting for other jobs", "running": "Working"}


async def begin(client: AsyncQuorumClient, call: Call[JobOut], *, url: str | None) -> JobOut:
    """The job that `call` begins. When this is cancelled, so is the job.

    A connection that is lost ends the program, with a word on how to find out whether the job was begun.
    """
    from service.client import ConnectionFailedError

    sending = asyncio.create_task(client.send(call))
    try:
        return call.parse(await asyncio.shield(sending))
    except asyncio.CancelledError:
        note("Cancelling …")
        await asyncio.wait({sending}, timeout=GRACE_S)
        if sending.done() and sending.exception() is None:
            await _cancel(client, call.parse(sending.result()).id, url)
        sending.cancel()
        raise
    except ConnectionFailedError as error:
        if not error.may_have_arrived:
            raise
        complain(str(error))
        complain(f"Whether the job was begun is not known: quorum jobs list{_on(url)} shows it.")
        raise typer.Exit(FAILED) from error


async def follow(
    client: AsyncQuorumClient, job_id: str, *, url: str | None, as_json: bool = False, own: bool = True
) -> JobOut:
    """The job once it has succeeded, printed as it came with `as_json`. Ctrl+C cancels it if it is our `own`.

    Raises `JobFailedError`. A connection that is lost ends the program, with a word on how to look at the job.
    """
    from service.client import ApiError, ConnectionFailedError, JobFailedError

    try:
        job = await _wait(client, job_id)
    except asyncio.CancelledError:
        if own:
            note("Cancelling …")
            await _cancel(client, job_id, url)
        raise
    except JobFailedError:
        if as_json:
            await _print(client, job_id)
        raise
    except (ConnectionFailedError, ApiError) as error:
        if isinstance(error, ApiError) and error.status < 500:
            raise
        _lost(error, job_id, url)
    if as_json:
        await _print(client, job_id)
    return job


async def _wait(client: AsyncQuorumClient, job_id: str) -> JobOut:
    with _progress() as progress:
        task = progress.add_task(STATES["queued"], total=1.0)

        def show(job: JobOut) -> None:
            progress.update(task, completed=job.progress, description=STATES.get(job.state, job.state))

        return await client.wait_for_job(job_id, on_progress=show)


async def _print(client: AsyncQuorumClient, job_id: str) -> None:
    from service.client import calls

    say_raw((await client.send(calls.job(job_id))).text)


async def _cancel(client: AsyncQuorumClient, job_id: str, url: str | None) -> None:
    from service.client import ApiError, ClientError

    try:
        await client.cancel_job(job_id)
    except ApiError as error:  # it was faster, most of the time
        complain(error.message)
    except ClientError as error:
        _say_that_it_goes_on(error, job_id, url)
    else:
        note(f"{job_id} is cancelled, nothing of it is activated.")


def _lost(error: ClientError, job_id: str, url: str | None) -> NoReturn:
    _say_that_it_goes_on(error, job_id, url)
    raise typer.Exit(FAILED) from error


def _say_that_it_goes_on(error: ClientError, job_id: str, url: str | None) -> None:
    complain(str(error))
    command = f"quorum jobs show {job_id} --wait{_on(url)}"
    complain(f"The job goes on as long as the server does. To see what comes of it: {command}")


def _on(url: str | None) -> str:
    """What a command needs to ask the same server: a variable stays set, an option has to be given again."""
    return "" if url is None else f" --url {url}"


def _progress() -> Progress:
    """On standard error, and gone at the end; where that is no terminal nothing is drawn."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(BAR_WIDTH),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        refresh_per_second=4,
        disable=not err.is_terminal,
    )
