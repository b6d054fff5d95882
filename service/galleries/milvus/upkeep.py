"""What galleries need beside their callers: being opened, flushed and indexed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from service.deadline import Deadline
from service.errors import GalleryFailedError, QuorumError, UnavailableError
from service.galleries.milvus.calls import Calls
from service.galleries.milvus.failures import RETRY_AFTER_S
from service.galleries.milvus.folder import LiteFolder
from service.galleries.milvus.gallery import Gallery
from service.galleries.milvus.indexes import IndexPlan
from service.galleries.milvus.rows import VECTORS, row_bytes
from service.galleries.milvus.tasks import Tasks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FlushRules:
    """When Milvus Lite moves rows from its memory, where a search reads each by itself (0.1 ms), to a file.

    At `items` or `most_bytes` (at 128 MiB Lite would flush by itself, beside searches that then miss rows); or when
    nothing was written for `quiet_s`, from `few` stored items on: fewer cost nothing, and would make many small files.
    """

    items: int = 2_000
    few: int = 100
    most_bytes: int = 32 * 2**20
    quiet_s: float = 1.0


class Upkeep:
    """`folder` is Lite's. A server flushes by itself."""

    def __init__(
        self, calls: Calls, plan: IndexPlan, folder: LiteFolder | None, rules: FlushRules, tasks: Tasks
    ) -> None:
        self._calls = calls
        self._plan = plan
        self._folder = folder
        self._rules = rules
        self._tasks = tasks

    def opening(self, gallery: Gallery) -> asyncio.Task[None]:
        """The work of opening it, begun if need be, and again where it did not end well."""
        task = gallery.opening
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = gallery.opening = self._tasks.spawn(self._open(gallery))
        return task

    async def ready(self, gallery: Gallery, deadline: Deadline) -> None:
        """Wait until it can be used. Raises `UnavailableError` when that takes too long."""
        task = self.opening(gallery)
        if not task.done():
            await asyncio.wait({task}, timeout=deadline.remaining_s)
        if not task.done():
            raise UnavailableError(
                f"Gallery {gallery.spec.name} is still being loaded. Try again.", retry_after_s=RETRY_AFTER_S
            )
        await asyncio.shield(task)

    async def wrote(self, gallery: Gallery, *, stored: int = 0, deleted: int = 0) -> None:
        """Note what was written by the caller, who has the gallery's `writing`."""
        if self._folder is None:
            return
        gallery.stored += stored
        gallery.deleted += deleted
        self.forget(gallery)
        full = gallery.stored * row_bytes(gallery.spec) >= self._rules.most_bytes
        if full or gallery.stored + gallery.deleted >= self._rules.items:
            await self._flush(gallery)
        elif gallery.stored >= self._rules.few:
            gallery.flush_soon = asyncio.get_running_loop().call_later(self._rules.quiet_s, self._quiet, gallery)

    def forget(self, gallery: Gallery) -> None:
        """No flush is due any more."""
        if gallery.flush_soon is not None:
            gallery.flush_soon.cancel()
            gallery.flush_soon = None

    def _quiet(self, gallery: Gallery) -> None:
        async def flush() -> None:
            async with gallery.writing:
                if not (gallery.dropped or gallery.broken):
                    await self._flush(gallery)

        gallery.flush_soon = None
        self._tasks.spawn(flush())

    async def _flush(self, gallery: Gallery) -> None:
        """With the gallery's `writing`. What is in memory is in Lite's log too: a failure loses nothing."""
        try:
            async with gallery.lock.alone():
                await self._calls.flush(gallery.collection)
                gallery.stored = gallery.deleted = 0
            if not gallery.indexed and await self._calls.count(gallery.collection) >= self._plan.index_from:
                async with gallery.lock.alone():
                    await self._calls.build(gallery.collection, VECTORS)
                    gallery.indexed = True
        except GalleryFailedError:
            # Lite has let go of what it could not write: reads would miss it, and the next flush delete its log.
            gallery.broken = True
        except QuorumError:
            log.warning("gallery %s was not flushed, and will be later", gallery.spec.name)

    async def _open(self, gallery: Gallery) -> None:
        """Also the end of what a killed process had begun: a missing index, a collection that is not loaded."""
        name = gallery.collection
        present = await self._calls.indexed(name)
        if self._folder is not None:
            replayed = await asyncio.to_thread(self._folder.unflushed_bytes, name)
            gallery.stored = replayed // row_bytes(gallery.spec)
        if present or self._plan.index_from == 0 or await self._calls.count(name) >= self._plan.index_from:
            missing = [column for column in VECTORS if column not in present]
            if missing:
                await self._calls.build(name, missing)
            await self._load(gallery)
            gallery.indexed = True

    async def _load(self, gallery: Gallery) -> None:
        try:
            await self._calls.load(gallery.collection)
        except GalleryFailedError:
            if self._folder is None:
                raise
            # An index file that was cut off in the middle: it is made of the items, and can be made again.
            log.warning("the index of gallery %s cannot be read, and is built again", gallery.spec.name)
            await self._calls.drop_indexes(gallery.collection)
            await self._calls.build(gallery.collection, VECTORS)
            await self._calls.load(gallery.collection)
