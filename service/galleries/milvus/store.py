"""The store of galleries in Milvus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from service.deadline import Deadline
from service.errors import (
    GalleryDiffersError,
    GalleryFailedError,
    GalleryLoadingError,
    InternalError,
    NotFoundError,
    QuorumError,
)
from service.galleries.base import (
    Floats,
    Found,
    GallerySpec,
    GalleryStatus,
    IndexInfo,
    Item,
    ItemAbout,
    VectorField,
)
from service.galleries.milvus import rows
from service.galleries.milvus.calls import Calls, pieces
from service.galleries.milvus.catalogue import Catalogue, FolderCatalogue, ServerCatalogue
from service.galleries.milvus.connection import Connection
from service.galleries.milvus.definitions import collection_of
from service.galleries.milvus.gallery import Gallery, gone
from service.galleries.milvus.indexes import INDEX_FROM, PLAIN, IndexPlan
from service.galleries.milvus.tasks import Tasks
from service.galleries.milvus.upkeep import FlushRules, Upkeep
from service.stores.base import Page

T = TypeVar("T")

STATUS_WAIT_S: Final = 1.0
CLOSE_WAIT_S: Final = 20.0


class MilvusGalleries:
    """`url` is a path that ends in `.db`, of Milvus Lite in this process, or that of a server.

    One process has a Lite folder at a time, and one of these objects in it. Several may work on a server.
    """

    def __init__(
        self, url: str, token: str | None, *, index_from: int = INDEX_FROM, rules: FlushRules | None = None
    ) -> None:
        self._connection = Connection(url, token)
        folder = self._connection.folder
        self._plan = IndexPlan.lite(index_from) if folder is not None else IndexPlan.server()
        self._calls = Calls(self._connection, self._plan)
        self._catalogue: Catalogue = (
            FolderCatalogue(folder) if folder is not None else ServerCatalogue(self._connection)
        )
        self._tasks = Tasks()
        self._upkeep = Upkeep(self._calls, self._plan, folder, rules or FlushRules(), self._tasks)
        self._galleries: dict[str, Gallery] = {}
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Raises `ConfigurationError`. The galleries of a folder are opened in the background, one after the other."""
        await self._connection.start()
        kept = await self._catalogue.start()
        if kept:
            self._tasks.spawn(self._open_all(kept))

    async def close(self) -> None:
        """What is being written is written first."""
        for gallery in self._galleries.values():
            self._upkeep.forget(gallery)
        await self._tasks.close(CLOSE_WAIT_S)
        for gallery in self._galleries.values():
            self._upkeep.forget(gallery)
        await self._connection.close()

    async def create(self, spec: GallerySpec, deadline: Deadline) -> GallerySpec:
        created = await self._tasks.finish(self._create(spec, deadline), deadline, "creating a gallery")
        await self._upkeep.ready(self._gallery(created), deadline)
        return created

    async def get(self, name: str, deadline: Deadline) -> GallerySpec | None:
        return await deadline.wait_for(self._catalogue.get(name), "reading a gallery's definition")

    async def list(self, *, after: str | None, limit: int, deadline: Deadline) -> Page[GallerySpec]:
        return await deadline.wait_for(self._catalogue.list(after, limit), "listing galleries")

    async def drop(self, name: str, deadline: Deadline) -> bool:
        return await self._tasks.finish(self._drop(name, deadline), deadline, "dropping a gallery")

    async def status(self, spec: GallerySpec, deadline: Deadline) -> GalleryStatus:
        """Items are counted when the gallery is ready; otherwise there are none to tell of."""
        gallery = self._gallery(spec)
        if gallery.broken:
            return GalleryStatus(items=0, state="failed", index=self._index(gallery))
        opening = self._upkeep.opening(gallery)
        await asyncio.wait({opening}, timeout=min(STATUS_WAIT_S, deadline.remaining_s))
        if not opening.done():
            return GalleryStatus(items=0, state="loading", index=self._index(gallery))
        if opening.cancelled() or opening.exception() is not None:
            return GalleryStatus(items=0, state="failed", index=self._index(gallery))
        items = await self._read(
            spec, deadline, "counting items", lambda gallery: self._calls.count(gallery.collection)
        )
        return GalleryStatus(items=items, state="ready", index=self._index(gallery))

    async def upsert(self, spec: GallerySpec, items: Sequence[Item], deadline: Deadline) -> None:
        async def write(gallery: Gallery) -> None:
            largest = rows.row_bytes(spec) + max(map(rows.text_bytes, items), default=0)
            for piece in pieces(len(items), largest):
                data = [rows.row_of(spec, item) for item in items[piece]]
                async with gallery.lock.shared():
                    await self._calls.upsert(gallery.collection, data)
                await self._upkeep.wrote(gallery, stored=len(data))
                gallery.check()

        await self._write(spec, deadline, "storing items", write)

    async def fetch(self, spec: GallerySpec, ids: Sequence[str], deadline: Deadline) -> dict[str, Item]:
        columns = [*rows.about_columns(spec), rows.COMMITTEE]
        found = await self._by_id(spec, ids, columns, deadline, bytes_each=spec.width * rows.FLOAT_BYTES)
        return {row[rows.ID]: rows.item_of(spec, row) for row in found}

    async def look_up(self, spec: GallerySpec, ids: Sequence[str], deadline: Deadline) -> dict[str, ItemAbout]:
        found = await self._by_id(spec, ids, rows.about_columns(spec), deadline)
        return {row[rows.ID]: rows.about_of(spec, row) for row in found}

    async def delete(
        self, spec: GallerySpec, deadline: Deadline, *, ids: Sequence[str] | None = None, where: str | None = None
    ) -> int:
        if (ids is None) == (where is None):
            raise ValueError("give exactly one of ids and where")

        async def write(gallery: Gallery) -> int:
            async with gallery.lock.shared():
                there = await self._calls.present(gallery.collection, ids, where)
            for piece in pieces(len(there)):
                async with gallery.lock.shared():
                    await self._calls.delete(gallery.collection, there[piece])
                await self._upkeep.wrote(gallery, deleted=len(there[piece]))
                gallery.check()
            return len(there)

        return await self._write(spec, deadline, "deleting items", write)

    async def items(
        self, spec: GallerySpec, *, after: str | None, limit: int, where: str | None, deadline: Deadline
    ) -> Page[ItemAbout]:
        columns = rows.about_columns(spec)
        found = await self._read(
            spec,
            deadline,
            "listing items",
            lambda gallery: self._calls.page(gallery.collection, after, limit + 1, where, columns),
        )
        return Page(tuple(rows.about_of(spec, row) for row in found[:limit]), has_more=len(found) > limit)

    async def search(
        self,
        spec: GallerySpec,
        field: VectorField,
        queries: Floats,
        *,
        limit: int,
        where: str | None,
        embeddings: bool,
        deadline: Deadline,
    ) -> Sequence[Sequence[Found]]:
        columns = [*rows.about_columns(spec), *([rows.COMMITTEE] if embeddings else [])]
        bytes_each = limit * (rows.about_bytes(spec) + (spec.width * rows.FLOAT_BYTES if embeddings else 0))
        hits = await self._read(
            spec,
            deadline,
            "searching",
            lambda gallery: self._calls.search(gallery.collection, field, queries, limit, where, columns, bytes_each),
        )
        return [rows.found_of(spec, each, embeddings=embeddings) for each in hits]

    def _index(self, gallery: Gallery) -> IndexInfo:
        return self._plan.built if gallery.indexed or self._plan.index_from == 0 else PLAIN

    def _gallery(self, spec: GallerySpec) -> Gallery:
        """Raises `NotFoundError` where `spec` is of a gallery that was dropped, be it that its name was given again."""
        known = self._galleries.get(spec.name)
        if not self._catalogue.has(spec) or (known is not None and known.spec.created_at > spec.created_at):
            raise gone(spec.name)
        if known is None or known.spec.created_at < spec.created_at:
            known = self._galleries[spec.name] = Gallery(spec)
        return known

    async def _read(
        self, spec: GallerySpec, deadline: Deadline, doing: str, body: Callable[[Gallery], Awaitable[T]]
    ) -> T:
        gallery = self._gallery(spec)
        gallery.check()
        await self._upkeep.ready(gallery, deadline)

        async def read() -> T:
            async with gallery.lock.shared():
                gallery.check()
                return await body(gallery)

        try:
            return await deadline.wait_for(read(), doing)
        except GalleryLoadingError:
            gallery.opening = None
            raise

    async def _write(
        self, spec: GallerySpec, deadline: Deadline, doing: str, body: Callable[[Gallery], Awaitable[T]]
    ) -> T:
        """What was begun is done to its end, whether its caller waits for it or has left."""
        gallery = self._gallery(spec)
        gallery.check()
        await self._upkeep.ready(gallery, deadline)

        async def write() -> T:
            async with gallery.writing:
                deadline.check(doing)
                gallery.check()
                try:
                    return await body(gallery)
                except GalleryLoadingError:
                    gallery.opening = None
                    raise
                except GalleryFailedError:
                    # What follows half a write in Lite's log would not be found after a crash: no more of it.
                    gallery.broken = self._connection.folder is not None
                    raise

        return await self._tasks.finish(write(), deadline, doing)

    async def _create(self, spec: GallerySpec, deadline: Deadline) -> GallerySpec:
        async with self._changing:
            deadline.check("creating a gallery")
            found = await self._catalogue.get(spec.name)
            if found is not None:
                return found
            try:
                await self._calls.create(collection_of(spec.name), spec)
            except QuorumError as error:
                found = await self._catalogue.get(spec.name)  # by another gateway, in this moment
                if found is not None:
                    return found
                if isinstance(error, InternalError) and await self._calls.exists(collection_of(spec.name)):
                    raise GalleryDiffersError(
                        f"A gallery {spec.name} was made by a version of the server that this one cannot read."
                    ) from error
                raise
            self._catalogue.added(spec)
            return spec

    async def _drop(self, name: str, deadline: Deadline) -> bool:
        async with self._changing:
            deadline.check("dropping a gallery")
            spec = await self._catalogue.get(name)
            if spec is None:
                return False
            gallery = self._gallery(spec)
            await asyncio.wait({self._upkeep.opening(gallery)})
            async with gallery.writing, gallery.lock.alone():
                with suppress(NotFoundError):  # by another gateway meanwhile
                    await self._calls.drop(gallery.collection)
                gallery.dropped = True
            self._upkeep.forget(gallery)
            self._catalogue.dropped(name)
            del self._galleries[name]
            return True

    async def _open_all(self, specs: Sequence[GallerySpec]) -> None:
        for spec in specs:
            if self._catalogue.has(spec):
                await asyncio.wait({self._upkeep.opening(self._gallery(spec))})

    async def _by_id(
        self, spec: GallerySpec, ids: Sequence[str], columns: Sequence[str], deadline: Deadline, bytes_each: int = 1
    ) -> Sequence[rows.Row]:
        return await self._read(
            spec,
            deadline,
            "reading items",
            lambda gallery: self._calls.by_id(gallery.collection, ids, columns, bytes_each),
        )
