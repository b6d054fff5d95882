"""A gallery that this process works on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from service.errors import NotFoundError, UnavailableError
from service.galleries.base import GallerySpec
from service.galleries.milvus.definitions import collection_of
from service.galleries.milvus.failures import RETRY_AFTER_S
from service.galleries.milvus.locks import SharedLock


@dataclass(slots=True, eq=False)
class Gallery:
    """Milvus Lite does not keep its callers apart, so this does.

    `writing` is held by whoever changes items: two writes at once, or a write beside a flush, can lose rows there.
    `lock` is shared by every call, and held alone while a flush moves rows from memory to files (a search in between
    finds them in neither), while an index is built and while the gallery is dropped.

    `stored` and `deleted` count items since the last flush. `broken`: a write to disk failed, and Lite's memory and log
    do not hold the same any more.
    """

    spec: GallerySpec
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    lock: SharedLock = field(default_factory=SharedLock)
    opening: asyncio.Task[None] | None = None
    indexed: bool = False
    stored: int = 0
    deleted: int = 0
    flush_soon: asyncio.TimerHandle | None = None
    broken: bool = False
    dropped: bool = False

    @property
    def collection(self) -> str:
        return collection_of(self.spec.name)

    def check(self) -> None:
        """Raises `NotFoundError` once it is dropped, `UnavailableError` once a write to disk failed."""
        if self.dropped:
            raise gone(self.spec.name)
        if self.broken:
            raise UnavailableError(
                f"Gallery {self.spec.name} could not be written to disk, and the server's log says why. What was "
                "acknowledged is safe. Mend the disk, then restart the server.",
                retry_after_s=RETRY_AFTER_S,
            )


def gone(name: str) -> NotFoundError:
    return NotFoundError(f"There is no gallery {name} any more.")
