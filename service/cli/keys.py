"""`quorum keys …`: the file of API keys, edited on the machine where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from service.cli.connection import FAILED, not_started
from service.cli.output import complain, count, note, out, say, table

if TYPE_CHECKING:
    from service.keys import ApiKey, Scope

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""API keys: who may ask a server, for what and how often. A server takes them from the file that
    QUORUM_API_KEYS_FILE names, and follows its changes.

    Example: `quorum keys new web --scope read --file keys.toml`
    """,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.", show_default=False)]
File = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="FILE", help="The keys file. Else QUORUM_API_KEYS_FILE.", dir_okay=False, show_default=False
    ),
]


@app.command()
def new(
    name: Name,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do: read (classify, embed, search, look), write (change label sets and galleries, fit), "
            "admin (delete whole ones, list keys). Each includes those before it. Can be repeated.",
            metavar="SCOPE",
            show_default="read",
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, max=10**9, metavar="N", help="Most calls a minute.", show_default="no limit")
    ] = None,
    images_per_minute: Annotated[
        int | None, typer.Option(min=1, max=10**9, metavar="N", help="Most images a minute.", show_default="no limit")
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], metavar="DATE", help="From when on it opens nothing (UTC).", show_default="never"
        ),
    ] = None,
    file: File = None,
) -> None:
    """Make a key. It is printed once, to standard output, and kept nowhere: the file holds its SHA-256.

    Without a file the entry is printed below the key, to be put into one.

    Example: `quorum keys new web --scope read --requests-per-minute 600 --file keys.toml`
    """
    from service.keys import ApiKey, digest_of, entry_text, new_key
    from service.keys_editing import add_key

    key = new_key()
    entry = ApiKey(
        name=_checked(name),
        digest=digest_of(key),
        scopes=_scopes(scope or ["read"]),
        requests_per_minute=requests_per_minute,
        images_per_minute=images_per_minute,
        expires=_midnight(expires),
    )
    path = _configured(file)
    if path is None:
        say(key)
        out.print()
        say(entry_text(entry).rstrip())
        return
    with _in_sentences():
        add_key(path, entry)
    say(key)
    note(f"{name}: added to {path}. The key is shown this once.")


@app.command("list")
def list_(file: File = None) -> None:
    """List the keys of a file: names, scopes and limits.

    Example: `quorum keys list --file keys.toml`
    """
    from service.keys import SCOPES
    from service.keys_file import read_keys

    path = _required(file)
    with _in_sentences():
        keys = read_keys(path)
    if not keys:
        say("There are no keys in it, so nobody is let in. `quorum keys new` makes one.")
        return
    shown = table("Name", "Scopes", "Requests/min", "Images/min", "Expires", numbers=("Requests/min", "Images/min"))
    for key in keys:
        shown.add_row(
            Text(key.name, style="bold"),
            Text(", ".join(each for each in SCOPES if each in key.scopes)),
            _limit(key.requests_per_minute),
            _limit(key.images_per_minute),
            _expiry(key),
        )
    out.print(shown)


@app.command()
def remove(name: Name, file: File = None) -> None:
    """Remove a key. Servers that read the file refuse it from their next look on, which is a second later at most.

    Example: `quorum keys remove web --file keys.toml`
    """
    from service.keys_editing import remove_key

    path = _required(file)
    with _in_sentences():
        left = remove_key(path, name)
    say(f"{name}: removed, {count(left, 'key is', 'keys are')} left." + ("" if left else " Nobody is let in now."))


@contextmanager
def _in_sentences() -> Iterator[None]:
    """What is wrong with the file ends the program here."""
    from service.errors import ConfigurationError

    try:
        yield
    except ConfigurationError as error:
        complain(error.message)
        raise typer.Exit(FAILED) from error


def _required(file: Path | None) -> Path:
    path = _configured(file)
    if path is None:
        raise typer.BadParameter("name the keys file here or in QUORUM_API_KEYS_FILE", param_hint="--file")
    return path


def _configured(file: Path | None) -> Path | None:
    if file is not None:
        return file
    from service.errors import StartupError
    from service.settings import Settings

    try:
        return Settings.from_environment().api_keys_file
    except StartupError as error:
        not_started(error)


def _checked(name: str) -> str:
    from service.keys import NAME, NAME_RULE

    if NAME.fullmatch(name) is None:
        raise typer.BadParameter(f"a name {NAME_RULE}", param_hint="NAME")
    return name


def _scopes(given: list[str]) -> frozenset[Scope]:
    from service.keys import SCOPES

    if not set(given) <= set(SCOPES):
        raise typer.BadParameter(f"a scope is one of {', '.join(SCOPES)}", param_hint="--scope")
    return frozenset(scope for scope in SCOPES if scope in given)


def _midnight(day: datetime | None) -> datetime | None:
    if day is None:
        return None
    expires = day.replace(tzinfo=UTC)
    if expires <= datetime.now(UTC):
        raise typer.BadParameter("that is over", param_hint="--expires")
    return expires


def _limit(limit: int | None) -> str:
    return "no limit" if limit is None else f"{limit:,}"


def _expiry(key: ApiKey) -> str:
    if key.expires is None:
        return "never"
    return f"{key.expires:%Y-%m-%d %H:%M %Z}" + (" (over)" if key.has_expired(datetime.now(UTC)) else "")
