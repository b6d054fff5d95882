"""Label sets, and what follows when one of them changes."""

from __future__ import annotations

import sqlite3
from typing import Final

from service.pipeline.labels import LabelSet
from service.stores.base import Page, StoredLabelSet
from service.stores.reasons import label_set_deleted, label_set_replaced
from service.stores.sqlite.artefacts import delete_all_artefacts
from service.stores.sqlite.file import SqliteFile, now
from service.stores.sqlite.jobs import cancel_unfinished
from service.stores.sqlite.rows import LABEL_SET_COLUMNS, dump_label_set, find_label_set, one, read_label_set

UPSERT: Final = f"""
INSERT INTO label_sets ({LABEL_SET_COLUMNS}) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET content = excluded.content, updated_at = excluded.updated_at
RETURNING {LABEL_SET_COLUMNS}
"""


class SqliteLabelSets:
    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def put(self, name: str, label_set: LabelSet) -> StoredLabelSet:
        content = dump_label_set(label_set)

        def put(connection: sqlite3.Connection) -> StoredLabelSet:
            before = find_label_set(connection, name)
            if before is not None and before.label_set.digest != label_set.digest:
                cancel_unfinished(connection, name, None, label_set_replaced(name))
            at = now()
            row = one(connection, UPSERT, (name, content, at, at))
            if row is None:
                raise RuntimeError("an upsert with RETURNING gave no row")
            return read_label_set(row)

        return await self._file.write(put)

    async def get(self, name: str) -> StoredLabelSet | None:
        return await self._file.read(lambda connection: find_label_set(connection, name))

    async def delete(self, name: str) -> bool:
        def delete(connection: sqlite3.Connection) -> bool:
            cancel_unfinished(connection, name, None, label_set_deleted(name))
            delete_all_artefacts(connection, name)
            return one(connection, "DELETE FROM label_sets WHERE name = ? RETURNING name", (name,)) is not None

        return await self._file.write(delete)

    async def list(self, *, after: str | None, limit: int) -> Page[StoredLabelSet]:
        query = f"SELECT {LABEL_SET_COLUMNS} FROM label_sets WHERE name > ? ORDER BY name LIMIT ?"

        def page(connection: sqlite3.Connection) -> Page[StoredLabelSet]:
            rows = connection.execute(query, (after or "", limit + 1)).fetchall()
            return Page(tuple(read_label_set(row) for row in rows[:limit]), has_more=len(rows) > limit)

        return await self._file.read(page)
