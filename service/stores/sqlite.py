"""Label sets in one SQLite file: the default state of a single machine, shared by its worker processes."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiosqlite

from service.errors import ConfigurationError, UnavailableError
from service.pipeline.labels import LabelSet
from service.stores.base import Page, StoredLabelSet

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S: Final = 5.0
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS label_sets (
    name TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID
"""
UPSERT: Final = """
INSERT INTO label_sets (name, content, created_at, updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET content = excluded.content, updated_at = excluded.updated_at
RETURNING name, content, created_at, updated_at
"""
COLUMNS: Final = "name, content, created_at, updated_at"


class SqliteLabelSets:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: aiosqlite.Connection | None = None

    async def start(self) -> None:
        """Raises `ConfigurationError` when the file cannot be opened."""
        try:
            await asyncio.to_thread(_check_openable, self._path)
            self._connection = await aiosqlite.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            await self._connection.execute("PRAGMA journal_mode = WAL")
            # FULL: a committed label set survives a power cut too, at one fsync per write, and writes are rare.
            await self._connection.execute("PRAGMA synchronous = FULL")
            await self._connection.execute(SCHEMA)
        except (OSError, aiosqlite.Error) as error:
            await self.close()
            raise ConfigurationError(f"QUORUM_STATE_PATH: cannot open {self._path}: {error}") from error

    async def put(self, name: str, label_set: LabelSet) -> StoredLabelSet:
        now = datetime.now(UTC).isoformat()
        row = await self._one(UPSERT, (name, _dump(label_set), now, now))
        if row is None:
            raise RuntimeError("an upsert with RETURNING gave no row")
        return _stored(row)

    async def get(self, name: str) -> StoredLabelSet | None:
        row = await self._one(f"SELECT {COLUMNS} FROM label_sets WHERE name = ?", (name,))
        return _stored(row) if row is not None else None

    async def delete(self, name: str) -> bool:
        return await self._one("DELETE FROM label_sets WHERE name = ? RETURNING name", (name,)) is not None

    async def list(self, *, after: str | None, limit: int) -> Page:
        query = f"SELECT {COLUMNS} FROM label_sets WHERE name > ? ORDER BY name LIMIT ?"
        rows = await self._fetch(query, (after or "", limit + 1))
        return Page(tuple(_stored(row) for row in rows[:limit]), has_more=len(rows) > limit)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    @property
    def _open(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise RuntimeError("the label set store is used before start() or after close()")
        return self._connection

    async def _one(self, query: str, parameters: tuple[str, ...]) -> aiosqlite.Row | None:
        rows = await self._fetch(query, parameters)
        return rows[0] if rows else None

    async def _fetch(self, query: str, parameters: tuple[str | int, ...]) -> Sequence[aiosqlite.Row]:
        """Raises `UnavailableError` when the file is locked for too long, or its disk is full."""
        connection = self._open
        try:
            # fetchall, not fetchone: an unfinished RETURNING statement would keep its write transaction open.
            return list(await connection.execute_fetchall(query, parameters))
        except aiosqlite.OperationalError as error:
            log.exception("%s cannot be read or written", self._path)
            raise UnavailableError("Label sets cannot be read or written now.", retry_after_s=BUSY_TIMEOUT_S) from error


def _check_openable(path: Path) -> None:
    """aiosqlite reports a path that cannot be opened from its own thread, with tracebacks; this one just raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sqlite3.connect(path).close()


def _dump(label_set: LabelSet) -> str:
    content = {"labels": label_set.labels, "phrasings": label_set.phrasings, "templates": label_set.templates}
    return json.dumps(content, ensure_ascii=False)


def _stored(row: aiosqlite.Row) -> StoredLabelSet:
    name, content, created_at, updated_at = row
    fields = json.loads(content)
    label_set = LabelSet(
        labels=tuple(fields["labels"]),
        phrasings=tuple(tuple(phrasings) for phrasings in fields["phrasings"]),
        templates=tuple(fields["templates"]),
    )
    return StoredLabelSet(name, label_set, datetime.fromisoformat(created_at), datetime.fromisoformat(updated_at))
