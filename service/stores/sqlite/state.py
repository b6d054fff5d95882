"""The three stores on one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Final

from service.errors import ConfigurationError
from service.stores.base import Retention
from service.stores.sqlite.artefacts import SqliteArtefacts
from service.stores.sqlite.file import SqliteFile
from service.stores.sqlite.jobs import SqliteJobs
from service.stores.sqlite.label_sets import SqliteLabelSets
from service.stores.sqlite.presence import Presence

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS label_sets (
    name TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS artefact_heads (
    label_set TEXT NOT NULL,
    kind TEXT NOT NULL,
    newest INTEGER NOT NULL,
    active INTEGER,
    activations INTEGER NOT NULL,
    PRIMARY KEY (label_set, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS artefacts (
    label_set TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at TEXT NOT NULL,
    activation INTEGER NOT NULL,
    tensors BLOB NOT NULL,
    PRIMARY KEY (label_set, kind, version)
);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    label_set TEXT NOT NULL,
    digest TEXT NOT NULL,
    request_id TEXT NOT NULL,
    state TEXT NOT NULL,
    progress REAL NOT NULL,
    result TEXT,
    error TEXT,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS jobs_by_label_set ON jobs (label_set, id);
CREATE INDEX IF NOT EXISTS unfinished_jobs ON jobs (label_set, kind) WHERE finished_at IS NULL;
"""


class SqliteState:
    """Several processes of one machine may share the file; beside it lies a folder of their locks (`Presence`)."""

    def __init__(self, path: Path, retention: Retention) -> None:
        self._file = SqliteFile(path)
        self._presence = Presence(path.with_name(f"{path.name}-owners"))
        self.label_sets = SqliteLabelSets(self._file)
        self.artefacts = SqliteArtefacts(self._file, retention)
        self.jobs = SqliteJobs(self._file, retention, self._presence)

    async def start(self) -> None:
        """Raises `ConfigurationError` when the file cannot be opened, or its folder cannot hold locks."""
        try:
            await self._file.open(SCHEMA)
            await asyncio.to_thread(self._presence.claim)
        except (OSError, sqlite3.Error) as error:
            await self.close()
            raise ConfigurationError(f"QUORUM_STATE_URL: cannot open {self._file.path}: {error}") from error

    def problems(self) -> list[str]:
        return []

    async def close(self) -> None:
        await self._file.close()
        self._presence.release()
