"""Jobs and their states. Every change asks for the state that it starts from, so that none undoes another."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service.errors import QuorumError
from service.policies import ArtefactKind, JobState
from service.stores.base import ArtefactContent, Job, JobError, NewJob, Page, Retention
from service.stores.reasons import interrupted, superseded
from service.stores.sqlite.artefacts import put_artefact
from service.stores.sqlite.file import Row, SqliteFile, now
from service.stores.sqlite.presence import Presence
from service.stores.sqlite.rows import check_digest, one

COLUMNS: Final = (
    "id, kind, label_set, digest, request_id, state, progress, result, error, created_at, started_at, finished_at"
)
INSERT: Final = f"""
INSERT INTO jobs (id, owner, kind, label_set, digest, request_id, state, progress, created_at)
VALUES (?, ?, ?, ?, ?, ?, 'queued', 0.0, ?)
RETURNING {COLUMNS}
"""
START: Final = f"""
UPDATE jobs SET state = 'running', started_at = ? WHERE id = ? AND state = 'queued' RETURNING {COLUMNS}
"""
PROGRESS: Final = "UPDATE jobs SET progress = ? WHERE id = ? AND state = 'running' RETURNING id"
SUCCEED: Final = f"""
UPDATE jobs SET state = 'succeeded', progress = 1.0, result = ?, finished_at = ? WHERE id = ? RETURNING {COLUMNS}
"""
END: Final = "UPDATE jobs SET state = :state, error = :error, finished_at = :at WHERE finished_at IS NULL"
FIND: Final = f"SELECT {COLUMNS} FROM jobs WHERE id = ?"
LIST: Final = f"""
SELECT {COLUMNS} FROM jobs
WHERE (:label_set IS NULL OR label_set = :label_set) AND (:after IS NULL OR id < :after) ORDER BY id DESC LIMIT :limit
"""
FORGET: Final = """
DELETE FROM jobs WHERE finished_at < ? OR (finished_at IS NOT NULL AND id NOT IN (
    SELECT id FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT ?
))
"""


class SqliteJobs:
    def __init__(self, file: SqliteFile, retention: Retention, presence: Presence) -> None:
        self._file = file
        self._retention = retention
        self._presence = presence

    async def create(self, new: NewJob) -> Job:
        values = (new.id, self._presence.owner, new.kind, new.label_set, new.digest, new.request_id)

        def create(connection: sqlite3.Connection) -> Job:
            check_digest(connection, new.label_set, new.digest)
            cancel_unfinished(connection, new.label_set, new.kind, superseded(new.id, new.kind))
            row = one(connection, INSERT, (*values, now()))
            if row is None:
                raise RuntimeError("an insert with RETURNING gave no row")
            return _read(row)

        return await self._file.write(create)

    async def start(self, job_id: str) -> Job | None:
        return await self._file.write(lambda connection: _job(one(connection, START, (now(), job_id))))

    async def progress(self, job_id: str, fraction: float) -> bool:
        return await self._file.write(lambda connection: one(connection, PROGRESS, (fraction, job_id)) is not None)

    async def finish(self, job_id: str, result: Mapping[str, Any], artefact: ArtefactContent | None) -> Job | None:
        def finish(connection: sqlite3.Connection) -> Job | None:
            job = _job(one(connection, FIND, (job_id,)))
            if job is None or job.state != "running":
                return None
            shown = dict(result)
            if artefact is not None:
                stored = put_artefact(connection, job.label_set, job.kind, job.digest, artefact, self._retention)
                shown["version"] = stored.version
            text = json.dumps(shown, ensure_ascii=False, allow_nan=False)
            return _job(one(connection, SUCCEED, (text, now(), job_id)))

        return await self._file.write(finish)

    async def fail(self, job_id: str, error: QuorumError) -> Job | None:
        query = f"{END} AND id = :id RETURNING {COLUMNS}"
        values = {**_ending("failed", error), "id": job_id}
        return await self._file.write(lambda connection: _job(one(connection, query, values)))

    async def cancel(self, job_id: str, error: QuorumError) -> Job | None:
        def cancel(connection: sqlite3.Connection) -> Job | None:
            connection.execute(f"{END} AND id = :id", {**_ending("cancelled", error), "id": job_id})
            return _job(one(connection, FIND, (job_id,)))

        return await self._file.write(cancel)

    async def get(self, job_id: str) -> Job | None:
        return await self._file.read(lambda connection: _job(one(connection, FIND, (job_id,))))

    async def list(self, *, label_set: str | None, after: str | None, limit: int) -> Page[Job]:
        values = {"label_set": label_set, "after": after, "limit": limit + 1}

        def page(connection: sqlite3.Connection) -> Page[Job]:
            rows = connection.execute(LIST, values).fetchall()
            return Page(tuple(_read(row) for row in rows[:limit]), has_more=len(rows) > limit)

        return await self._file.read(page)

    async def sweep(self) -> Sequence[Job]:
        def sweep(connection: sqlite3.Connection) -> Sequence[Job]:
            owners = connection.execute("SELECT DISTINCT owner FROM jobs WHERE finished_at IS NULL").fetchall()
            failed: list[Job] = []
            for (owner,) in owners:
                if self._presence.is_gone(owner):
                    failed += _interrupt(connection, owner)
            oldest = datetime.now(UTC) - timedelta(seconds=self._retention.job_ttl_s)
            kept = (oldest.isoformat(timespec="microseconds"), self._retention.finished_jobs)
            connection.execute(FORGET, kept)
            return failed

        return await self._file.write(sweep)


def cancel_unfinished(
    connection: sqlite3.Connection, label_set: str, kind: ArtefactKind | None, error: QuorumError
) -> None:
    """The label set's jobs, of one kind or of both, as a part of the caller's transaction."""
    query = f"{END} AND label_set = :label_set AND (:kind IS NULL OR kind = :kind)"
    connection.execute(query, {**_ending("cancelled", error), "label_set": label_set, "kind": kind})


def _interrupt(connection: sqlite3.Connection, owner: str) -> list[Job]:
    query = f"{END} AND owner = :owner RETURNING {COLUMNS}"
    values = {**_ending("failed", interrupted()), "owner": owner}
    return [_read(row) for row in connection.execute(query, values).fetchall()]


def _ending(state: JobState, error: QuorumError) -> dict[str, str]:
    """The parameters of `END`."""
    return {"state": state, "error": json.dumps(asdict(JobError.of(error)), ensure_ascii=False), "at": now()}


def _job(row: Row | None) -> Job | None:
    return _read(row) if row is not None else None


def _read(row: Row) -> Job:
    job_id, kind, label_set, digest, request_id, state, progress, result, error, *times = row
    created_at, started_at, finished_at = times
    return Job(
        id=job_id,
        kind=kind,
        label_set=label_set,
        digest=digest,
        request_id=request_id,
        state=state,
        progress=progress,
        result=json.loads(result) if result is not None else None,
        error=JobError(**json.loads(error)) if error is not None else None,
        created_at=datetime.fromisoformat(created_at),
        started_at=_time(started_at),
        finished_at=_time(finished_at),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None
