"""From sources into a gallery: in batches, several on their way at once, and nothing that is there already."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from service.cli.entries import Entry, ReadLimits, Source, UnreadableError
from service.cli.item_fields import FieldError, FieldRows, known
from service.cli.output import printable

if TYPE_CHECKING:
    from service.api.gallery_schemas import GalleryOut, ItemOut, ItemsResponse
    from service.client import AsyncQuorumClient, Call, Item
    from service.client.gallery_content import FieldValue

    T = TypeVar("T")

IN_FLIGHT: Final = 3
"""Batches: one is embedded, one arrives, one is looked up, while the next is read."""
BATCH_BYTES: Final = 8 << 20
"""Of contents. Four batches are in memory at once; a larger image makes one by itself."""
ROOM_PER_ITEM: Final = 1024
"""For the id (escaped, twice) and what stands around an item."""
REFUSED: Final = frozenset({400, 413, 422, 504})
"""A batch that gets one of these is sent in halves, so that one item's fault is one item's."""
NAMES: Final = (
    "max_images",
    "max_items",
    "max_body_bytes",
    "max_image_bytes",
    "max_text_characters",
    "max_deadline_ms",
    "max_top_k",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Those that the server states; of what it does not state, ours."""

    images: int
    items: int
    body_bytes: int
    image_bytes: int
    text_characters: int
    deadline_ms: int
    page: int

    @property
    def reading(self) -> ReadLimits:
        return ReadLimits(self.image_bytes, self.text_characters)


@dataclass(frozen=True, slots=True)
class Failure:
    id: str
    place: str
    reason: str


@dataclass(slots=True)
class Tally:
    """What came of the entries so far. `took_s` ends with the last of them."""

    changes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)
    took_s: float = 0.0

    @property
    def per_second(self) -> float:
        return self.done / max(self.took_s, 1e-3)

    @property
    def done(self) -> int:
        return self.changes.total() + len(self.failures)

    def failed(self, entry: Entry, reason: str) -> None:
        self.failures.append(Failure(entry.id, printable(entry.place), reason))


@dataclass(frozen=True, slots=True)
class Loaded:
    """An entry with its contents. `fields` of None: nothing was said about them, so that they stay as they are."""

    entry: Entry
    content: bytes | str
    fields: Mapping[str, FieldValue] | None

    @property
    def data(self) -> bytes:
        return self.content.encode() if isinstance(self.content, str) else self.content

    def is_there(self, found: ItemOut | None, gallery: GalleryOut) -> bool:
        if found is None or found.modality != self.entry.kind or not self.has_fields_of(found, gallery):
            return False
        return found.digest == hashlib.sha256(self.data).hexdigest()

    def has_fields_of(self, found: ItemOut, gallery: GalleryOut) -> bool:
        return self.fields is None or all(self.fields.get(name) == found.fields.get(name) for name in gallery.fields)


async def limits_of(client: AsyncQuorumClient) -> Limits:
    from service.settings import Settings

    stated, ours = (await client.info()).limits, Settings.from_environment()
    return Limits(*(stated.get(name, getattr(ours, name)) for name in NAMES))


class Indexer:
    """`progress` is called whenever some entries are done."""

    def __init__(
        self, client: AsyncQuorumClient, gallery: GalleryOut, limits: Limits, progress: Callable[[Tally], None]
    ) -> None:
        self._client = client
        self._gallery = gallery
        self._limits = limits
        self._progress = progress
        self.tally = Tally()

    async def index(self, sources: Sequence[Source], rows: FieldRows | None) -> None:
        """Everything that is in the sources. What fails is in the tally; raises `ClientError` where nothing more can
        succeed."""
        batches = self._batches(sources, rows)
        sending: set[asyncio.Task[None]] = set()
        try:
            while batch := await asyncio.to_thread(next, batches, None):
                sending.add(asyncio.create_task(self._send(batch)))
                if len(sending) >= IN_FLIGHT:
                    sending = await _some_done(sending)
            while sending:
                sending = await _some_done(sending)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
        self._tell()

    def _batches(self, sources: Sequence[Source], rows: FieldRows | None) -> Iterator[list[Loaded]]:
        """Of one kind each, since images alone travel best. Runs in a thread, read by read."""
        batch: list[Loaded] = []
        room = 0
        for loaded in self._loaded(sources, rows):
            needed = self._needed(loaded)
            full = len(batch) >= self._limits.images or needed > room
            if batch and (full or loaded.entry.kind != batch[0].entry.kind):
                yield batch
                batch = []
            if not batch:
                room = min(BATCH_BYTES, self._limits.body_bytes)
            room -= needed
            batch.append(loaded)
        if batch:
            yield batch

    def _loaded(self, sources: Sequence[Source], rows: FieldRows | None) -> Iterator[Loaded]:
        for source in sources:
            for entry in source.entries:
                if entry.problem is not None:
                    self.tally.failed(entry, entry.problem)
            for entry, content in source.contents(self._limits.reading):
                if isinstance(content, UnreadableError):
                    self.tally.failed(entry, str(content))
                    continue
                try:
                    loaded = Loaded(entry, content, self._fields(entry, rows))
                except FieldError as error:
                    self.tally.failed(entry, str(error))
                    continue
                if self._needed(loaded) > self._limits.body_bytes:
                    self.tally.failed(entry, "it is larger than what the server takes (QUORUM_MAX_BODY_BYTES)")
                else:
                    yield loaded

    def _fields(self, entry: Entry, rows: FieldRows | None) -> Mapping[str, FieldValue] | None:
        """Those that came with it, under those of the file."""
        types = self._gallery.fields
        own = known(entry.fields or {}, types) or None
        row = None if rows is None else rows.of(entry.id, types)
        return row if own is None else own | (row or {})

    def _needed(self, loaded: Loaded) -> int:
        """Bytes on the wire, at most: in base64, which odd ids make necessary."""
        fields = len(json.dumps(loaded.fields)) if loaded.fields else 0
        return 4 * len(loaded.data) // 3 + 12 * len(loaded.entry.id) + fields + ROOM_PER_ITEM

    async def _send(self, batch: Sequence[Loaded]) -> None:
        there = await self._look_up(batch)
        changed: list[tuple[Loaded, Item]] = []
        for loaded in batch:
            found = there.get(loaded.entry.id)
            if loaded.is_there(found, self._gallery):
                self.tally.changes["unchanged"] += 1
            else:
                changed.append((loaded, _item(loaded, found)))
        self._tell()
        if changed:
            await self._add(changed)

    def _tell(self) -> None:
        self.tally.took_s = time.monotonic() - self.tally.began_s
        self._progress(self.tally)

    async def _look_up(self, batch: Sequence[Loaded]) -> dict[str, ItemOut]:
        from service.client import gallery_calls

        call = gallery_calls.look_up_items(self._gallery.name, [loaded.entry.id for loaded in batch])
        return {item.id: item for item in (await patiently(self._client, call)).data}

    async def _add(self, changed: Sequence[tuple[Loaded, Item]]) -> None:
        from service.client import ApiError, gallery_calls

        call = gallery_calls.add_items(
            self._gallery.name, [item for _, item in changed], deadline_ms=self._limits.deadline_ms
        )
        try:
            self._count(changed, await patiently(self._client, call))
        except ApiError as error:
            if error.status not in REFUSED or (len(changed) == 1 and error.status == 504):
                raise
            if len(changed) == 1:
                self.tally.failed(changed[0][0].entry, error.message)
            else:
                middle = len(changed) // 2
                await self._add(changed[:middle])
                await self._add(changed[middle:])
        self._tell()

    def _count(self, changed: Sequence[tuple[Loaded, Item]], answer: ItemsResponse) -> None:
        from service.api.gallery_schemas import ItemFailure

        for result in answer.results:
            if isinstance(result, ItemFailure):
                self.tally.failed(changed[result.index][0].entry, result.error.message)
            else:
                self.tally.changes[result.status] += 1


async def ids_of(client: AsyncQuorumClient, gallery: str, limits: Limits) -> AsyncIterator[str]:
    """Of everything that a gallery holds."""
    from service.client import gallery_calls

    call: Call[Any] | None = gallery_calls.list_items(gallery, limits.page)
    while call is not None:
        page = await patiently(client, call)
        for item in page.data:
            yield item.id
        call = gallery_calls.items_after(page, gallery, limits.page)


async def delete(client: AsyncQuorumClient, gallery: str, ids: Sequence[str], limits: Limits) -> int:
    from service.client import gallery_calls

    deleted = 0
    for start in range(0, len(ids), limits.items):
        call = gallery_calls.delete_items(gallery, ids[start : start + limits.items], None)
        deleted += (await patiently(client, call)).deleted
    return deleted


async def patiently(client: AsyncQuorumClient, call: Call[T]) -> T:
    """A long import outlives a server that is full, or is started anew."""
    from service.client import Retry

    return call.parse(await client.send(call, retry=Retry(max_attempts=8, deadline_s=300.0)))


def _item(loaded: Loaded, found: ItemOut | None) -> Item:
    from service.client import Item

    kept = {} if found is None else found.fields
    return Item(loaded.entry.id, loaded.content, kept if loaded.fields is None else loaded.fields)


async def _some_done(tasks: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Those that go on, once one has ended. Raises what it raised."""
    done, going_on = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return going_on
