"""Whom a command talks to: a server, or the same application inside this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import typer

from service.cli.output import complain, err, note, say_raw

if TYPE_CHECKING:
    from pydantic import SecretStr

    from service.api.schemas import JobOut
    from service.client import ApiError, AsyncQuorumClient, Call, ClientError
    from service.errors import StartupError
    from service.settings import Settings

FAILED: Final = 1
NOT_STARTED: Final = 3
NO_LABEL_SET: Final = "`quorum labels list` shows what there is, `quorum labels set` makes one."
IN_PROCESS_URL: Final = "http://quorum.in-process"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """`url` as given on the command line. The rest says what an application in this process is needed for: without
    `embeds` no model has to be loaded, without `writes` no state has to be created, and without `galleries` those are
    left alone (where they are kept in a file, one process has it for itself)."""

    url: str | None
    embeds: bool = False
    writes: bool = False
    galleries: bool = False


def message_of(error: ApiError) -> str:
    return error.message


def talk(
    target: Target,
    conversation: Callable[[AsyncQuorumClient], Awaitable[T]],
    *,
    as_json: bool = False,
    words: Callable[[ApiError], str] = message_of,
    missing: str = NO_LABEL_SET,
) -> T:
    """The conversation's result. What goes wrong is said in a sentence, and ends the program with the fitting status.

    With `as_json` an error of the API is printed as it came, too: that is what a program expects to read. `missing` is
    the advice where there is nothing of a name that was given.
    """
    from service.errors import StartupError
    from service.settings import Settings

    try:
        with in_sentences(as_json=as_json, words=words, missing=missing):
            return asyncio.run(_converse(target, Settings.from_environment(), conversation))
    except StartupError as error:
        not_started(error)


@contextmanager
def in_sentences(
    *, as_json: bool = False, words: Callable[[ApiError], str] = message_of, missing: str = NO_LABEL_SET
) -> Iterator[None]:
    """Errors of the client end the program here, as `talk` says."""
    from service.client import ApiError, ClientError, JobFailedError

    try:
        yield
    except ApiError as error:
        if as_json:
            say_raw(error.body)
        _failed(error, words(error), missing)
    except JobFailedError as error:
        report_failed_job(error.job)
    except ClientError as error:
        _failed(error, str(error), missing)


def ask(
    target: Target,
    call: Call[T],
    *,
    as_json: bool = False,
    words: Callable[[ApiError], str] = message_of,
    missing: str = NO_LABEL_SET,
) -> T:
    """The answer to one call, printed as it came with `as_json`."""

    async def conversation(client: AsyncQuorumClient) -> T:
        response = await client.send(call)
        if as_json and response.content:
            say_raw(response.text)
        return call.parse(response)

    return talk(target, conversation, as_json=as_json, words=words, missing=missing)


def report_failed_job(job: JobOut) -> NoReturn:
    """A job that failed or was cancelled, in the words of its error."""
    complain(f"{job.id} {job.state}." if job.error is None else job.error.message)
    if job.error is not None:
        note(f"{job.error.code}, {job.id}, request {job.error.request_id}")
    raise typer.Exit(FAILED)


def not_started(error: StartupError) -> NoReturn:
    complain(f"quorum cannot start: {error.message} ({error.code})")
    raise typer.Exit(NOT_STARTED) from error


async def _converse(target: Target, settings: Settings, conversation: Callable[[AsyncQuorumClient], Awaitable[T]]) -> T:
    async with _connected(target, settings) as client:
        return await conversation(client)


@asynccontextmanager
async def _connected(target: Target, settings: Settings) -> AsyncIterator[AsyncQuorumClient]:
    from service.client import AsyncQuorumClient, Retry

    url = target.url or settings.client_url
    if not url:
        async with _in_process(target, settings) as client:
            yield client
        return
    key = settings.client_api_key.get_secret_value() if settings.client_api_key else None
    try:
        client = AsyncQuorumClient(url, api_key=key, retry=Retry(max_attempts=3, backoff_s=0.2))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url or QUORUM_CLIENT_URL") from error
    async with client:
        yield client


@asynccontextmanager
async def _in_process(target: Target, settings: Settings) -> AsyncIterator[AsyncQuorumClient]:
    import httpx2

    from service.app import create_app
    from service.client import NO_RETRY, AsyncQuorumClient

    async with AsyncExitStack() as stack:
        changes: dict[str, Any] = {"api_keys_file": None}
        if not target.embeds:
            changes["engine"] = "fake"  # nothing will be computed, so nothing has to be loaded
        changes |= _state(target, settings, stack)
        changes |= _galleries(target, settings, stack)
        with err.status("Loading the backbones …" if target.embeds else "Reading the model repository …"):
            app = create_app(settings.model_copy(update=changes))
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield await stack.enter_async_context(
            AsyncQuorumClient(IN_PROCESS_URL, retry=NO_RETRY, transport=httpx2.ASGITransport(app))
        )


def _state(target: Target, settings: Settings, stack: AsyncExitStack) -> dict[str, SecretStr]:
    """What has to change for state: a file that is not there is not made by looking."""
    from pydantic import SecretStr

    url = settings.state_url.get_secret_value()
    if target.writes or "://" in url or Path(url).exists():
        return {}
    return {"state_url": SecretStr(str(Path(stack.enter_context(TemporaryDirectory())) / "state.sqlite3"))}


def _galleries(target: Target, settings: Settings, stack: AsyncExitStack) -> dict[str, str]:
    """What has to change for galleries."""
    if not target.galleries:
        return {"galleries_url": "off"}
    kept = settings.galleries_url
    if target.writes or not kept.endswith(".db") or Path(kept).exists():
        return {}
    return {"galleries_url": str(Path(stack.enter_context(TemporaryDirectory())) / "galleries.db")}


def _failed(error: ClientError, sentence: str, missing: str) -> NoReturn:
    from service.client import ApiError, ConnectionFailedError

    complain(sentence)
    if isinstance(error, ApiError):
        if error.status == 401:
            complain("Put the key into QUORUM_CLIENT_API_KEY.")
        if error.code == "insufficient_scope":
            complain("`quorum keys new` on the server's machine makes a key with another --scope.")
        if error.code == "not_found" and error.param in ("label_set", "name"):  # in a question, in a path
            complain(missing)
        request = f", request {error.request_id}" if error.request_id else ""
        err.print(f"{error.code}, HTTP {error.status}{request}", style="dim", markup=False)
    elif isinstance(error, ConnectionFailedError) and not error.may_have_arrived:
        complain("Start a server with `quorum serve`, or leave --url and QUORUM_CLIENT_URL out to work without one.")
    raise typer.Exit(FAILED) from error
