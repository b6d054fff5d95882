"""What is SQLite's own: transactions that are whole, whoever leaves, and files of earlier versions."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from service.errors import UnavailableError
from service.stores.sqlite import file as sqlite_file
from service.stores.sqlite.file import SqliteFile
from tests.support.state import PETS, content, new_job, sqlite_state

SCHEMA = "CREATE TABLE IF NOT EXISTS numbers (number INTEGER NOT NULL)"
PATIENCE_S = 60.0


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SqliteFile]:
    file = SqliteFile(tmp_path / "numbers.sqlite3")
    await file.open(SCHEMA)
    yield file
    await file.close()


def insert(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("INSERT INTO numbers VALUES (?)", (number,))


async def numbers(file: SqliteFile) -> list[int]:
    return await file.read(lambda connection: [row[0] for row in connection.execute("SELECT number FROM numbers")])


async def test_an_error_in_the_middle_undoes_the_whole_transaction(file: SqliteFile) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        insert(connection, 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await file.write(broken)
    await file.write(lambda connection: insert(connection, 2))
    assert await numbers(file) == [2]


async def test_a_caller_that_leaves_in_the_middle_leaves_a_whole_transaction(file: SqliteFile) -> None:
    half, gate = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        insert(connection, 1)
        half.set()
        assert gate.wait(PATIENCE_S)
        insert(connection, 2)

    caller = asyncio.create_task(file.write(slow))
    assert await asyncio.to_thread(half.wait, PATIENCE_S)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await numbers(file) == [], "readers wait for no writer, and see no half of what it writes"
    gate.set()
    await file.write(lambda _: None)
    assert await numbers(file) == [1, 2]


async def test_what_a_caller_no_longer_waits_for_is_not_begun(file: SqliteFile) -> None:
    gate = threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        assert gate.wait(PATIENCE_S)
        insert(connection, 1)

    first = asyncio.create_task(file.write(slow))
    second = asyncio.create_task(file.write(lambda connection: insert(connection, 2)))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    gate.set()
    await first
    assert await numbers(file) == [1]


async def test_somebody_elses_long_transaction_is_an_unavailable_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.05)
    file = SqliteFile(tmp_path / "numbers.sqlite3")
    await file.open(SCHEMA)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError) as raised:
            await file.write(lambda connection: insert(connection, 1))
        assert raised.value.retry_after_s
        assert await numbers(file) == [], "readers are not held up"
        other.execute("ROLLBACK")
    await file.write(lambda connection: insert(connection, 2))
    assert await numbers(file) == [2]
    await file.close()


async def test_every_commit_reaches_the_disk_before_it_is_acknowledged(file: SqliteFile) -> None:
    def setting(name: str) -> Callable[[sqlite3.Connection], object]:
        return lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert await file.read(setting("journal_mode")) == "wal"
    assert await file.read(setting("synchronous")) == 2  # FULL


async def test_the_reading_connection_cannot_write(file: SqliteFile) -> None:
    with pytest.raises(UnavailableError):
        await file.read(lambda connection: insert(connection, 1))
    assert await numbers(file) == []


async def test_a_reader_sees_what_was_written_before(file: SqliteFile) -> None:
    for count in range(1, 51):
        await file.write(lambda connection: insert(connection, 7))
        assert len(await numbers(file)) == count


async def test_a_closed_file_can_be_opened_again_and_is_of_no_use_between(file: SqliteFile) -> None:
    await file.write(lambda connection: insert(connection, 1))
    await file.close()
    with pytest.raises(RuntimeError, match="after close"):
        await numbers(file)
    await file.open(SCHEMA)
    assert await numbers(file) == [1]


async def test_a_file_from_before_there_were_jobs_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    with closing(sqlite3.connect(tmp_path / "deep" / "state.sqlite3")) as old, old:
        old.execute(
            "CREATE TABLE label_sets (name TEXT PRIMARY KEY, content TEXT NOT NULL, created_at TEXT NOT NULL, "
            "updated_at TEXT NOT NULL) WITHOUT ROWID"
        )
        old.execute(
            "INSERT INTO label_sets VALUES ('pets', ?, ?, ?)",
            (
                '{"labels": ["cat", "dog"], "phrasings": [["cat"], ["dog"]], "templates": ["a {}", "the {}"]}',
                *["2026-01-02T03:04:05.678901+00:00"] * 2,
            ),
        )
    state = sqlite_state(tmp_path)
    await state.start()
    stored = await state.label_sets.get("pets")
    assert stored is not None
    assert stored.label_set == PETS
    assert (await state.jobs.create(new_job(stored))).state == "queued"
    assert (await state.artefacts.put("pets", "controller", PETS.digest, content())).version == 1
    await state.close()


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    first = sqlite_state(tmp_path)
    await first.start()
    stored = await first.label_sets.put("pets", PETS)
    job = await first.jobs.create(new_job(stored))
    await first.jobs.start(job.id)
    done = await first.jobs.finish(job.id, {"gain": 0.1}, content(7))
    artefact = await first.artefacts.get("pets", "controller")
    await first.close()
    second = sqlite_state(tmp_path)
    await second.start()
    assert await second.label_sets.get("pets") == stored
    assert await second.jobs.get(job.id) == done
    assert await second.artefacts.get("pets", "controller") == artefact
    await second.close()
