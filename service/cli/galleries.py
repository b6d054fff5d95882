"""`quorum galleries …`: what `quorum index` made."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.text import Text

from service.cli import options
from service.cli.connection import Target, ask, talk
from service.cli.output import count, out, say, say_raw, table, warn

if TYPE_CHECKING:
    from service.api.gallery_schemas import GalleryDetails, GalleryOut
    from service.client import AsyncQuorumClient

LOADING_S: Final = 60.0
LOOK_S: Final = 0.1
NO_GALLERY: Final = "`quorum galleries list` shows what there is, `quorum index` makes one."

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Galleries: images and texts that can be searched. `quorum index` makes and fills them, `quorum search` asks.

    Example: `quorum galleries list`
    """,
)


@app.command("list")
def list_(url: options.Url = None, as_json: options.Json = False) -> None:
    """List the galleries in order of name.

    --json prints the API's pages, one per line, of at most 100 galleries each.

    Example: `quorum galleries list`
    """
    from service.client import calls, gallery_calls

    async def conversation(client: AsyncQuorumClient) -> list[GalleryOut]:
        found: list[GalleryOut] = []
        call: Any = gallery_calls.list_galleries(calls.PAGE_SIZE)
        while call is not None:
            response = await client.send(call)
            if as_json:
                say_raw(response.text)
            page = call.parse(response)
            found += page.data
            call = gallery_calls.galleries_after(page, calls.PAGE_SIZE)
        return found

    found = talk(Target(url, galleries=True), conversation, as_json=as_json)
    if not as_json:
        _show_list(found)


@app.command()
def show(name: options.Gallery, url: options.Url = None, as_json: options.Json = False) -> None:
    """Show one gallery: its backbones and fields, how much it holds, and how it is searched.

    Example: `quorum galleries show shop`
    """

    async def conversation(client: AsyncQuorumClient) -> GalleryDetails:
        gallery, text = await settled(client, name)
        if as_json:
            say_raw(text)
        return gallery

    gallery = talk(Target(url, galleries=True), conversation, as_json=as_json, missing=NO_GALLERY)
    if not as_json:
        _show(gallery)


@app.command()
def delete(name: options.Gallery, url: options.Url = None) -> None:
    """Delete a gallery and everything in it. There is no way back.

    Example: `quorum galleries delete shop`
    """
    from service.client import gallery_calls

    ask(Target(url, writes=True, galleries=True), gallery_calls.delete_gallery(name), missing=NO_GALLERY)
    say(f"{name}: deleted.")


async def settled(client: AsyncQuorumClient, name: str) -> tuple[GalleryDetails, str]:
    """A gallery, and the same as it came, once it is loaded: before that nobody knows how much it holds. A server that
    was just started loads for a while, and so does an application in this process."""
    from service.client import gallery_calls

    call = gallery_calls.gallery(name)
    ends_s = time.monotonic() + LOADING_S
    while True:
        response = await client.send(call)
        gallery = call.parse(response)
        if gallery.state != "loading" or time.monotonic() > ends_s:
            return gallery, response.text
        await asyncio.sleep(LOOK_S)


def _show_list(galleries: list[GalleryOut]) -> None:
    if not galleries:
        say("There are no galleries. Make one: quorum index photos FOLDER")
        return
    shown = table("Name", "Backbones", "Fields", "Created")
    for gallery in galleries:
        shown.add_row(
            Text(gallery.name, style="bold"),
            Text(", ".join(member.name for member in gallery.backbones)),
            Text(_fields(gallery)),
            f"{gallery.created_at.astimezone():%Y-%m-%d %H:%M}",
        )
    out.print(shown)
    for gallery in galleries:
        _warn_if_stale(gallery)


def _show(gallery: GalleryDetails) -> None:
    shown = table("Backbone", "Width", "Searches first", "Image tower", numbers=("Width",))
    for member in gallery.backbones:
        first = "yes" if member.name in gallery.prefix else ""
        shown.add_row(Text(member.name), str(member.width), first, member.image[:12])
    holds = count(gallery.items, "item", "items") if gallery.state == "ready" else gallery.state
    out.print(Text(gallery.name, style="bold"), Text(holds, style="dim"))
    out.print(shown)
    say(f"Fields: {_fields(gallery) or 'none'}")
    index = gallery.index
    params = "".join(f", {name} {value}" for name, value in index.params.items())
    exact = "every item is compared" if index.exact else "approximate"
    say(f"Metric {gallery.metric}; index {index.type}{params} ({exact})")
    say(f"Created {gallery.created_at.astimezone():%Y-%m-%d %H:%M}")
    _warn_if_stale(gallery)


def _fields(gallery: GalleryOut) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in gallery.fields.items())


def _warn_if_stale(gallery: GalleryOut) -> None:
    if gallery.stale is not None:
        warn(f"{gallery.name}: {gallery.stale} Build it anew: quorum index {gallery.name} FOLDER --rebuild")
