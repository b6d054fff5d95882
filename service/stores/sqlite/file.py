"""One SQLite file: a thread that writes, a transaction at a time, and one that reads, which waits for no writer."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from service.errors import UnavailableError

log = logging.getLogger(__name__)

T = TypeVar("T")
Row = tuple[Any, ...]
Transaction = Callable[[sqlite3.Connection], T]

BUSY_TIMEOUT_S: Final = 5.0
"""How long a transaction waits for another process' one."""


class SqliteFile:
    """A transaction is a function of the connection, and runs to its end in a thread of the file.

    A caller that leaves, by its deadline or its connection's end, therefore leaves a whole transaction behind or none.
    Requests read: beside a disk that takes its time over a commit, and beside a writer that waits for another process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = _Lane("state-writer")
        self._reader = _Lane("state-reader")

    async def open(self, schema: str) -> None:
        """Raises `OSError` or `sqlite3.Error`."""
        await asyncio.to_thread(self.path.parent.mkdir, parents=True, exist_ok=True)
        # FULL: what was committed survives a power cut too, at one fsync per write, and writes are rare.
        await self._writer.open(self.path, f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {schema}")
        await self._reader.open(self.path, "PRAGMA query_only = ON")

    async def read(self, transaction: Transaction[T]) -> T:
        """What a transaction of one statement gives: of all that was committed before. Raises `UnavailableError`."""
        return await self._guarded(self._reader, transaction)

    async def write(self, transaction: Transaction[T]) -> T:
        """What `transaction` gives, once it is on disk; whatever it raises undoes it.

        Raises `UnavailableError` when the file is locked for too long, or its disk is full.
        """

        def whole(connection: sqlite3.Connection) -> T:
            # IMMEDIATE: taken at the first statement, a lock is waited for; taken in the middle, it fails at once.
            connection.execute("BEGIN IMMEDIATE")
            try:
                given = transaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return given

        return await self._guarded(self._writer, whole)

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()

    async def _guarded(self, lane: _Lane, transaction: Transaction[T]) -> T:
        try:
            return await lane.run(transaction)
        except sqlite3.OperationalError as error:
            log.exception("%s cannot be read or written", self.path)
            raise UnavailableError(
                "The server's state cannot be read or written now. Try again.", retry_after_s=BUSY_TIMEOUT_S
            ) from error


class _Lane:
    """A connection and the one thread that uses it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self, path: Path, script: str) -> None:
        def connect() -> None:
            self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._connection.executescript(script)

        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        await asyncio.get_running_loop().run_in_executor(self._thread, connect)

    async def run(self, transaction: Transaction[T]) -> T:
        connection, thread = self._connection, self._thread
        if connection is None or thread is None:
            raise RuntimeError("the state is used before start() or after close()")
        return await asyncio.get_running_loop().run_in_executor(thread, transaction, connection)

    async def close(self) -> None:
        """What waits is done first."""
        connection, thread = self._connection, self._thread
        self._connection = self._thread = None
        if thread is not None:
            if connection is not None:
                await asyncio.get_running_loop().run_in_executor(thread, connection.close)
            thread.shutdown()


def now() -> str:
    """Microseconds always, so that the texts sort as the times do."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
