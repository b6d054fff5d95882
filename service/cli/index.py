"""`quorum index`."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from service.cli import options
from service.cli.connection import FAILED, Target, talk
from service.cli.output import complain, count, err, listed, note, say, say_raw, warn

if TYPE_CHECKING:
    from service.api.gallery_schemas import GalleryDetails
    from service.cli.entries import Source
    from service.cli.indexing import Limits, Tally
    from service.cli.item_fields import FieldRows
    from service.client import AsyncQuorumClient
    from service.client.gallery_calls import GalleryOptions
    from service.policies import FieldType

MOST_FAILURES: Final = 20
NARROW: Final = 12
"""Columns of the bar: the counts matter more."""
WORDS: Final = ("created", "updated", "unchanged")


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `made_of` is what a gallery is to be created as; what is not said is not in it."""

    gallery: str
    sources: Sequence[Source]
    rows: FieldRows | None
    made_of: GalleryOptions
    rebuild: bool
    delete_missing: bool
    yes: bool


Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE",
        help="A folder, gone through with its sub-folders; a .tar, .tar.gz or .tgz of images; a .jsonl of texts.",
        show_default=False,
    ),
]
FieldsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help='Fields by the item\'s id: a .csv with a column "id", or a .jsonl of objects with an "id".',
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=TYPE",
        help="For a new gallery: a field that items may have and searches may filter by, of type string, integer, "
        "number or boolean. Can be repeated.",
    ),
]
Prefix = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A,B,…",
        help="For a new gallery: who searches first under the policy cascade.",
        show_default="as shipped, else the cheapest half",
    ),
]
GalleryMetric = Annotated[
    Literal["cosine", "ip"] | None,
    typer.Option(help="For a new gallery: `ip` keeps the lengths of ready embeddings.", show_default="cosine"),
]


def index(
    gallery: options.Gallery,
    source: Sources,
    fields: FieldsFile = None,
    field: Fields = None,
    backbones: options.Backbones = None,
    prefix: Prefix = None,
    metric: GalleryMetric = None,
    texts: Annotated[
        bool, typer.Option("--texts", help="Take .txt files as well, in folders and archives, as texts.")
    ] = False,
    prefix_ids: Annotated[
        bool, typer.Option("--prefix-ids", help="Put the source's name before each id: photos/a.jpg.")
    ] = False,
    delete_missing: Annotated[
        bool, typer.Option("--delete-missing", help="At the end delete the items that are in none of the sources.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="First delete the gallery, and create it anew as it was, or as said here.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    url: options.Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as one JSON object.")] = False,
) -> None:
    """Put images (and texts) into a gallery, to be found by `quorum search`. Creates the gallery if it is not there.

    An item's id is its path in the folder or its name in the archive. What is in the gallery already and has not
    changed is not sent again: after an interruption run the same command once more. An item without a row in --fields
    keeps the fields that it has.

    Archives are WebDataset's: beside `KEY.jpg` may be `KEY.json` with its fields, of which those are taken that the
    gallery has. They are never unpacked; what is no regular file is left out. A line of a .jsonl is
    `{"id": "1", "text": "a red dress", "fields": {"year": 2024}}`.

    What cannot be read is listed at the end and the exit status is 1; the rest is indexed.

    Example: `quorum index shop photos --field year=integer --fields photos.csv`
    """
    from service.cli.item_fields import declared, read_rows
    from service.cli.sources import scan

    made_of: GalleryOptions = {
        "backbones": options.split_at_commas(backbones or []) or None,
        "prefix": options.split_at_commas(prefix or []) or None,
        "metric": metric,
        "fields": declared(field or []) or None,
    }
    with err.status("Looking through the sources …"):
        sources = scan(source, texts=texts, prefix_ids=prefix_ids)
    rows = None if fields is None else read_rows(fields)
    _say_what_is_left_out(sources, rows)
    wish = Wish(gallery, sources, rows, made_of, rebuild, delete_missing, yes)

    async def conversation(client: AsyncQuorumClient) -> tuple[Tally, int]:
        return await _carry_out(client, wish)

    tally, deleted = talk(Target(url, embeds=True, writes=True, galleries=True), conversation, as_json=as_json)
    _report(gallery, tally, deleted, as_json=as_json)
    if tally.failures:
        raise typer.Exit(FAILED)


async def _carry_out(client: AsyncQuorumClient, wish: Wish) -> tuple[Tally, int]:
    from service.cli.gallery_making import Making, made
    from service.cli.indexing import Indexer, limits_of

    limits = await limits_of(client)
    gallery = await made(
        client, wish.gallery, Making(wish.made_of, wish.rebuild, _checking(wish), _confirming(wish.yes))
    )
    total = sum(len(source.entries) for source in wish.sources)
    with _progress(total) as show:
        indexer = Indexer(client, gallery, limits, show)
        try:
            await indexer.index(wish.sources, wish.rows)
        except asyncio.CancelledError:
            note(
                f"Interrupted after {indexer.tally.done:,} of {total:,}. Run it again: what is there is not sent again."
            )
            raise
    deleted = await _delete_missing(client, wish, gallery, limits) if wish.delete_missing else 0
    return indexer.tally, deleted


def _checking(wish: Wish) -> Callable[[Mapping[str, FieldType]], None]:
    def check(types: Mapping[str, FieldType]) -> None:
        if wish.rows is not None:
            wish.rows.check_columns(types, wish.gallery)

    return check


async def _delete_missing(client: AsyncQuorumClient, wish: Wish, gallery: GalleryDetails, limits: Limits) -> int:
    from service.cli.indexing import delete, ids_of

    present = {entry.id for source in wish.sources for entry in source.entries}
    missing = [name async for name in ids_of(client, gallery.name, limits) if name not in present]
    if not missing:
        return 0
    which = f"{count(len(missing), 'item', 'items')} of {gallery.name} that {'is' if len(missing) == 1 else 'are'} in "
    if not _confirming(wish.yes)(f"Delete {which}none of the sources: {listed(missing)}?"):
        note("Nothing is deleted.")
        return 0
    return await delete(client, gallery.name, missing, limits)


def _confirming(yes: bool) -> Callable[[str], bool]:
    def confirm(question: str) -> bool:
        if yes:
            return True
        # While an event loop runs, Ctrl+C only cancels a task, and a question would wait for its answer all the same.
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return typer.confirm(question, err=True)
        finally:
            signal.signal(signal.SIGINT, handler)

    return confirm


def _say_what_is_left_out(sources: Sequence[Source], rows: FieldRows | None) -> None:
    from service.cli.item_fields import about_nobody

    skipped = [name for source in sources for name in source.skipped]
    if skipped:
        note(f"Left out, no image files: {listed(skipped)}.")
    nobody = rows and about_nobody(rows, {entry.id for source in sources for entry in source.entries})
    if nobody:
        warn(nobody)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Tally], None]]:
    """On standard error, and gone at the end; where that is no terminal nothing is drawn."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(NARROW), MofNCompleteColumn(), TextColumn("{task.fields[says]}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, refresh_per_second=4, disable=not err.is_terminal) as progress:
        task = progress.add_task("", total=total, says="")

        def show(tally: Tally) -> None:
            progress.update(task, completed=tally.done, says=_so_far(tally))

        yield show


def _so_far(tally: Tally) -> str:
    """Without what there is none of: this is to fit beside a bar."""
    parts = [f"{tally.changes[word]:,} {word}" for word in WORDS if tally.changes[word]]
    parts += [f"{len(tally.failures):,} failed"] if tally.failures else []
    return ", ".join([f"{tally.per_second:.0f}/s", *parts])


def _counts(tally: Tally) -> str:
    parts = [f"{tally.changes[word]:,} {word}" for word in WORDS]
    return ", ".join([*parts, f"{len(tally.failures):,} failed"])


def _report(gallery: str, tally: Tally, deleted: int, *, as_json: bool) -> None:
    for failure in tally.failures[:MOST_FAILURES]:
        complain(f"{failure.place}: {failure.reason}")
    if len(tally.failures) > MOST_FAILURES:
        complain(f"… and {len(tally.failures) - MOST_FAILURES:,} more (--json lists all)")
    if as_json:
        done: dict[str, Any] = {"gallery": gallery, **{word: tally.changes[word] for word in WORDS}, "deleted": deleted}
        say_raw(json.dumps(done | {"failed": [asdict(failure) for failure in tally.failures]}))
        return
    also = f", {deleted:,} deleted" if deleted else ""
    say(f"{gallery}: {_counts(tally)}{also}; {tally.took_s:.1f} s, {tally.per_second:.0f}/s.")
