"""Which galleries there are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from service.galleries.base import GallerySpec
from service.galleries.milvus.connection import BRIEFLY, Connection
from service.galleries.milvus.definitions import collection_of, gallery_of, spec_of
from service.galleries.milvus.failures import NO_COLLECTION, error_code
from service.galleries.milvus.folder import LiteFolder
from service.stores.base import Page


class Catalogue(Protocol):
    async def start(self) -> Sequence[GallerySpec]:
        """The galleries that this process has to open."""

    async def get(self, name: str) -> GallerySpec | None: ...

    async def list(self, after: str | None, limit: int) -> Page[GallerySpec]: ...

    def has(self, spec: GallerySpec) -> bool:
        """False where it is certain that this very gallery is gone."""

    def added(self, spec: GallerySpec) -> None: ...

    def dropped(self, name: str) -> None: ...


class FolderCatalogue:
    """Read once: nobody else changes the folder while this process has it. So it answers while galleries load."""

    def __init__(self, folder: LiteFolder) -> None:
        self._folder = folder
        self._specs: dict[str, GallerySpec] = {}

    async def start(self) -> Sequence[GallerySpec]:
        self._specs = await asyncio.to_thread(self._folder.specs)
        return list(self._specs.values())

    async def get(self, name: str) -> GallerySpec | None:
        return self._specs.get(name)

    async def list(self, after: str | None, limit: int) -> Page[GallerySpec]:
        names = sorted(name for name in self._specs if after is None or name > after)
        return Page(tuple(self._specs[name] for name in names[:limit]), has_more=len(names) > limit)

    def has(self, spec: GallerySpec) -> bool:
        known = self._specs.get(spec.name)
        return known is not None and known.created_at == spec.created_at

    def added(self, spec: GallerySpec) -> None:
        self._specs[spec.name] = spec

    def dropped(self, name: str) -> None:
        self._specs.pop(name, None)


class ServerCatalogue:
    """Asked every time: other gateways create and drop galleries too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def start(self) -> Sequence[GallerySpec]:
        return ()

    async def get(self, name: str) -> GallerySpec | None:
        return await self._describe(collection_of(name))

    async def list(self, after: str | None, limit: int) -> Page[GallerySpec]:
        collections = await self._connection.call(
            "listing galleries", lambda client: client.list_collections(**BRIEFLY)
        )
        named = sorted((name, each) for each in collections if (name := gallery_of(each)) is not None)
        later = [each for name, each in named if after is None or name > after]
        described = [await self._describe(each) for each in later[: limit + 1]]
        found = [spec for spec in described if spec is not None]
        return Page(tuple(found[:limit]), has_more=len(later) > limit)

    def has(self, spec: GallerySpec) -> bool:
        del spec
        return True

    def added(self, spec: GallerySpec) -> None:
        pass

    def dropped(self, name: str) -> None:
        pass

    async def _describe(self, collection: str) -> GallerySpec | None:
        properties = await self._connection.call(
            "reading a gallery's definition", lambda client: _properties(client, collection)
        )
        return None if properties is None else spec_of(collection, properties)


async def _properties(client: Any, collection: str) -> Mapping[str, Any] | None:
    try:
        described: Mapping[str, Any] = await client.describe_collection(collection, **BRIEFLY)
    except Exception as error:
        if error_code(error) == NO_COLLECTION:
            return None
        raise
    properties: Mapping[str, Any] = described["properties"]
    return properties
