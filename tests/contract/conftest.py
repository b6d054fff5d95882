"""State to hold against its contract, once per implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.stores.base import State
from tests.support.redis import RedisServer
from tests.support.state import RETENTION, redis_state, sqlite_state

OpenState = Callable[..., State]


@pytest.fixture(params=["sqlite", "redis"])
def open_state(request: pytest.FixtureRequest, tmp_path: Path) -> OpenState:
    """`open_state(retention)`: one more process' view of the same state, not yet started."""
    if request.param == "sqlite":
        return lambda retention=RETENTION: sqlite_state(tmp_path, retention)
    server: RedisServer = request.getfixturevalue("redis")
    return lambda retention=RETENTION: redis_state(server, retention)


@pytest.fixture
async def state(open_state: OpenState) -> AsyncIterator[State]:
    state = open_state()
    await state.start()
    yield state
    await state.close()


@pytest.fixture
async def other(open_state: OpenState, state: State) -> AsyncIterator[State]:
    """Another process on the state that `state` has."""
    assert state
    other = open_state()
    await other.start()
    yield other
    await other.close()
