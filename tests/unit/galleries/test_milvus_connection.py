"""How the way to Milvus is opened: once, by whoever comes first, and for whoever comes later."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from service.errors import UnavailableError
from service.galleries.milvus.connection import Connection
from service.galleries.milvus.folder import FolderInUseError


class Client:
    async def close(self) -> None:
        pass


async def name_of(client: Any) -> str:
    return type(client).__name__


def opened_slowly(connection: Connection, monkeypatch: pytest.MonkeyPatch, failing: int = 0) -> list[float]:
    """Opening takes 0.2 s and fails `failing` times; gives the list of its beginnings, which grows."""
    begun: list[float] = []

    def connect() -> tuple[Any, str]:
        begun.append(time.monotonic())
        time.sleep(0.2)
        if len(begun) <= failing:
            raise FolderInUseError
        return Client(), "somewhere"

    monkeypatch.setattr(connection, "_connect", connect)
    return begun


async def test_a_caller_without_time_leaves_the_opening_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection("http://milvus:19530", None)
    begun = opened_slowly(connection, monkeypatch)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.call("ask", name_of), 0.01)
    assert await connection.call("ask", name_of) == "Client"
    assert len(begun) == 1
    await connection.close()


async def test_callers_at_the_same_time_share_one_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection("http://milvus:19530", None)
    begun = opened_slowly(connection, monkeypatch)
    assert await asyncio.gather(*[connection.call("ask", name_of) for _ in range(5)]) == ["Client"] * 5
    assert len(begun) == 1
    await connection.close()


async def test_an_opening_that_failed_is_tried_again_by_the_next_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection("galleries.db", None)
    begun = opened_slowly(connection, monkeypatch, failing=1)
    with pytest.raises(UnavailableError, match="another process has"):
        await connection.call("ask", name_of)
    connection.folder = None  # nothing of Lite to stop
    assert await connection.call("ask", name_of) == "Client"
    assert len(begun) == 2
    await connection.close()


async def test_closing_waits_for_an_opening_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection("http://milvus:19530", None)
    opened_slowly(connection, monkeypatch)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.call("ask", name_of), 0.01)
    await connection.close()
    with pytest.raises(UnavailableError, match="shutting down"):
        await connection.call("ask", name_of)
