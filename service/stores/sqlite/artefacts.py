"""Versions of controllers and cascades. `artefact_heads` outlives the versions, so that no number is given twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from service.policies import ArtefactKind
from service.stores.base import Artefact, ArtefactContent, ArtefactVersion, Retention
from service.stores.reasons import artefact_does_not_fit
from service.stores.sqlite.file import Row, SqliteFile, now
from service.stores.sqlite.rows import check_digest, find_label_set, one

LARGEST: Final = 2**63 - 1
"""SQLite's largest number. A caller may ask for a version beyond it."""

VERSION: Final = "artefacts.label_set, artefacts.kind, version, digest, metadata, created_at, version IS active"
FROM: Final = "FROM artefacts JOIN artefact_heads USING (label_set, kind) WHERE label_set = ? AND kind = ?"
ACTIVE: Final = "WHERE label_set = ? AND version = active"
NEXT_VERSION: Final = """
INSERT INTO artefact_heads (label_set, kind, newest, active, activations) VALUES (?, ?, 1, 1, 1)
ON CONFLICT (label_set, kind)
DO UPDATE SET newest = newest + 1, active = newest + 1, activations = activations + 1
RETURNING newest, activations
"""
INSERT: Final = """
INSERT INTO artefacts (label_set, kind, version, digest, metadata, created_at, activation, tensors)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
PRUNE: Final = """
DELETE FROM artefacts WHERE label_set = ? AND kind = ? AND version NOT IN (
    SELECT version FROM artefacts WHERE label_set = ? AND kind = ? ORDER BY activation DESC LIMIT ?
)
"""
ACTIVATE: Final = """
UPDATE artefact_heads SET active = ?, activations = activations + 1 WHERE label_set = ? AND kind = ?
RETURNING activations
"""
MARK: Final = "UPDATE artefacts SET activation = ? WHERE label_set = ? AND kind = ? AND version = ?"


class SqliteArtefacts:
    def __init__(self, file: SqliteFile, retention: Retention) -> None:
        self._file = file
        self._retention = retention

    async def put(self, label_set: str, kind: ArtefactKind, digest: str, content: ArtefactContent) -> ArtefactVersion:
        return await self._file.write(
            lambda connection: put_artefact(connection, label_set, kind, digest, content, self._retention)
        )

    async def active(self, label_set: str) -> Mapping[ArtefactKind, ArtefactVersion]:
        query = f"SELECT {VERSION} FROM artefacts JOIN artefact_heads USING (label_set, kind) {ACTIVE}"

        def active(connection: sqlite3.Connection) -> Mapping[ArtefactKind, ArtefactVersion]:
            found = [_read(row) for row in connection.execute(query, (label_set,)).fetchall()]
            return {about.kind: about for about in found}

        return await self._file.read(active)

    async def get(self, label_set: str, kind: ArtefactKind, version: int | None = None) -> Artefact | None:
        query = f"SELECT {VERSION}, tensors {FROM} AND version = coalesce(?, active)"
        if version is not None and version > LARGEST:
            return None

        def get(connection: sqlite3.Connection) -> Artefact | None:
            row = one(connection, query, (label_set, kind, version))
            return Artefact(_read(row[:-1]), row[-1]) if row is not None else None

        return await self._file.read(get)

    async def list(self, label_set: str, kind: ArtefactKind) -> Sequence[ArtefactVersion]:
        query = f"SELECT {VERSION} {FROM} ORDER BY version DESC"

        def versions(connection: sqlite3.Connection) -> Sequence[ArtefactVersion]:
            return [_read(row) for row in connection.execute(query, (label_set, kind)).fetchall()]

        return await self._file.read(versions)

    async def activate(self, label_set: str, kind: ArtefactKind, version: int) -> ArtefactVersion | None:
        if version > LARGEST:
            return None

        def activate(connection: sqlite3.Connection) -> ArtefactVersion | None:
            found = _find(connection, label_set, kind, version)
            if found is None:
                return None
            stored = find_label_set(connection, label_set)
            if stored is None or not found.fits(stored.label_set):
                raise artefact_does_not_fit(found)
            head = one(connection, ACTIVATE, (version, label_set, kind))
            connection.execute(MARK, (*(head or ()), label_set, kind, version))
            return _find(connection, label_set, kind, version)

        return await self._file.write(activate)

    async def delete(self, label_set: str, kind: ArtefactKind) -> bool:
        def delete(connection: sqlite3.Connection) -> bool:
            where = "WHERE label_set = ? AND kind = ?"
            connection.execute(f"UPDATE artefact_heads SET active = NULL {where}", (label_set, kind))
            return connection.execute(f"DELETE FROM artefacts {where}", (label_set, kind)).rowcount > 0

        return await self._file.write(delete)


def put_artefact(
    connection: sqlite3.Connection,
    label_set: str,
    kind: ArtefactKind,
    digest: str,
    content: ArtefactContent,
    retention: Retention,
) -> ArtefactVersion:
    """As `ArtefactStore.put`, as a part of the caller's transaction."""
    check_digest(connection, label_set, digest)
    metadata = json.dumps(content.metadata, ensure_ascii=False, allow_nan=False)
    head = one(connection, NEXT_VERSION, (label_set, kind))
    if head is None:
        raise RuntimeError("an upsert with RETURNING gave no row")
    version, activation = head
    values = (label_set, kind, version, digest, metadata, now(), activation, content.tensors)
    connection.execute(INSERT, values)
    # By last use, not by age: after a roll-back the version that served is what one may want to go back to.
    connection.execute(PRUNE, (label_set, kind, label_set, kind, retention.earlier_versions + 1))
    stored = _find(connection, label_set, kind, version)
    if stored is None:
        raise RuntimeError("an artefact is gone in the transaction that stored it")
    return stored


def delete_all_artefacts(connection: sqlite3.Connection, label_set: str) -> None:
    """Of both kinds, with their counts of versions."""
    connection.execute("DELETE FROM artefacts WHERE label_set = ?", (label_set,))
    connection.execute("DELETE FROM artefact_heads WHERE label_set = ?", (label_set,))


def _find(connection: sqlite3.Connection, label_set: str, kind: ArtefactKind, version: int) -> ArtefactVersion | None:
    row = one(connection, f"SELECT {VERSION} {FROM} AND version = ?", (label_set, kind, version))
    return _read(row) if row is not None else None


def _read(row: Row) -> ArtefactVersion:
    label_set, kind, version, digest, metadata, created_at, active = row
    created = datetime.fromisoformat(created_at)
    return ArtefactVersion(label_set, kind, version, digest, json.loads(metadata), created, bool(active))
