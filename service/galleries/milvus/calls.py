"""Every call to Milvus on a collection. They raise our errors alone, and know nothing of who else is at work."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from service.errors import QuorumError
from service.galleries.base import Floats, GallerySpec
from service.galleries.filters import any_of, quoted
from service.galleries.milvus.connection import BRIEFLY, Connection
from service.galleries.milvus.definitions import properties_of
from service.galleries.milvus.folder import DROPPED
from service.galleries.milvus.indexes import IndexPlan
from service.galleries.milvus.rows import ID, Row, schema_of

log = logging.getLogger(__name__)

STRONG: Final[dict[str, Any]] = {"consistency_level": "Strong", **BRIEFLY}
"""What was acknowledged before is found."""
IN_ORDER: Final[dict[str, Any]] = {"iterator": "True", "reduce_stop_for_best": "True"}
"""What makes a query answer in the order of ids, from the first on."""

MESSAGE_BYTES: Final = 2 * 2**20
"""Of vectors that are stored or read in one call: they are packed in the event loop, at some 50 MB/s."""
ANSWER_BYTES: Final = 64 * 2**20
"""In the answer to one search. They are unpacked as they are read; a search costs more than that."""
MESSAGE_ROWS: Final = 1_000
LISTED_IDS: Final = 10_000


def pieces(count: int, bytes_each: int = 1, most_bytes: int = MESSAGE_BYTES) -> Iterator[slice]:
    """`range(count)` in parts that fit into one call."""
    step = max(1, min(MESSAGE_ROWS, most_bytes // bytes_each))
    for start in range(0, count, step):
        yield slice(start, start + step)


class Calls:
    def __init__(self, connection: Connection, plan: IndexPlan) -> None:
        self._connection = connection
        self._plan = plan

    async def create(self, collection: str, spec: GallerySpec) -> None:
        await self._connection.call(
            "creating a gallery",
            lambda client: client.create_collection(
                collection, schema=schema_of(spec), properties=properties_of(spec), **STRONG
            ),
        )

    async def exists(self, collection: str) -> bool:
        return bool(
            await self._connection.call(
                "looking for a gallery", lambda client: client.has_collection(collection, **BRIEFLY)
            )
        )

    async def drop(self, collection: str) -> None:
        """Lite removes file by file: a collection that is half gone has another name by then."""
        if self._connection.folder is not None:
            going = DROPPED + secrets.token_hex(8)
            await self._connection.call(
                "dropping a gallery", lambda client: client.rename_collection(collection, going, **BRIEFLY)
            )
            try:
                await self._connection.call(
                    "dropping a gallery", lambda client: client.drop_collection(going, **BRIEFLY)
                )
            except QuorumError:
                log.warning("%s was dropped, and its files will be removed at the next start", collection)
            return
        await self._connection.call("dropping a gallery", lambda client: client.drop_collection(collection, **BRIEFLY))

    async def indexed(self, collection: str) -> set[str]:
        """The columns that have an index. On Lite the first call on a collection opens it."""
        names = await self._connection.call(
            "opening a gallery", lambda client: client.list_indexes(collection, **BRIEFLY)
        )
        return set(names)

    async def build(self, collection: str, columns: Iterable[str]) -> None:
        """Index columns that have none. By the blocking client: the other one waits for a clock that Lite has not.

        On Lite they are indexed afterwards; a server goes on by itself.
        """

        def build(client: Any) -> None:
            for column in columns:
                params = client.prepare_index_params()
                params.add_index(column, index_name=column, **self._plan.build_params())
                client.create_index(collection, params, sync=False)

        await self._connection.call_blocking("indexing a gallery", build)

    async def drop_indexes(self, collection: str) -> None:
        while columns := await self.indexed(collection):  # Lite drops all of them for the name of one
            await self._drop_index(collection, min(columns))

    async def load(self, collection: str) -> None:
        await self._connection.call("loading a gallery", lambda client: client.load_collection(collection, **BRIEFLY))

    async def flush(self, collection: str) -> None:
        await self._connection.call("flushing a gallery", lambda client: client.flush(collection, **BRIEFLY))

    async def count(self, collection: str) -> int:
        rows = await self._query("counting items", collection, filter="", output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    async def upsert(self, collection: str, rows: Sequence[Row]) -> None:
        await self._connection.call("storing items", lambda client: client.upsert(collection, list(rows), **BRIEFLY))

    async def delete(self, collection: str, ids: Sequence[str]) -> None:
        await self._connection.call(
            "deleting items", lambda client: client.delete(collection, filter=any_of(ID, ids), **BRIEFLY)
        )

    async def by_id(
        self, collection: str, ids: Sequence[str], columns: Sequence[str], bytes_each: int = 1
    ) -> Sequence[Row]:
        """In any order, without those that are not there."""
        found: list[Row] = []
        distinct = list(dict.fromkeys(ids))
        for piece in pieces(len(distinct), bytes_each):
            asked = distinct[piece]
            found += await self._query(
                "reading items", collection, filter=any_of(ID, asked), output_fields=list(columns), limit=len(asked)
            )
        return found

    async def present(self, collection: str, ids: Sequence[str] | None, where: str | None) -> Sequence[str]:
        """The ids of the items that are there: of `ids`, or of all for which `where` holds."""
        if where is None:
            return [row[ID] for row in await self.by_id(collection, ids or (), [ID])]
        found: list[str] = []
        while True:
            page = await self.page(collection, found[-1] if found else None, LISTED_IDS, where, [ID])
            found += [row[ID] for row in page]
            if len(page) < LISTED_IDS:
                return found

    async def page(
        self, collection: str, after: str | None, limit: int, where: str | None, columns: Sequence[str]
    ) -> Sequence[Row]:
        """Ids after `after` in ascending order."""
        conditions = [f"({where})"] if where else []
        if after is not None:
            conditions.append(f"{ID} > {quoted(after)}")
        found = await self._query(
            "listing items",
            collection,
            filter=" and ".join(conditions),
            output_fields=list(columns),
            limit=limit,
            **IN_ORDER,
        )
        return sorted(found, key=lambda row: str(row[ID]))

    async def search(
        self,
        collection: str,
        column: str,
        queries: Floats,
        limit: int,
        where: str | None,
        columns: Sequence[str],
        bytes_each: int,
    ) -> Sequence[Sequence[Row]]:
        """Hits per query. `bytes_each` is about the size of the answer to one."""
        asked = {
            "anns_field": column,
            "filter": where or "",
            "limit": limit,
            "output_fields": list(columns),
            "search_params": self._plan.search_params(limit),
        }

        async def search(piece: slice) -> Sequence[Sequence[Row]]:
            hits: Sequence[Sequence[Row]] = await self._connection.call(
                "searching", lambda client: client.search(collection, data=list(queries[piece]), **asked, **STRONG)
            )
            return hits

        return [hits for piece in pieces(len(queries), bytes_each, ANSWER_BYTES) for hits in await search(piece)]

    async def _drop_index(self, collection: str, column: str) -> None:
        await self._connection.call(
            "dropping an index", lambda client: client.drop_index(collection, column, **BRIEFLY)
        )

    async def _query(self, doing: str, collection: str, **arguments: Any) -> Sequence[Row]:
        rows: Sequence[Row] = await self._connection.call(
            doing, lambda client: client.query(collection, **arguments, **STRONG)
        )
        return rows
