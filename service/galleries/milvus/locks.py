"""Who may work on a gallery at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class SharedLock:
    """Many share it, or one has it alone; in the order in which they asked."""

    def __init__(self) -> None:
        self._sharing = 0
        self._alone = False
        self._queue: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        await self._enter(alone=False)
        try:
            yield
        finally:
            self._leave(alone=False)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        await self._enter(alone=True)
        try:
            yield
        finally:
            self._leave(alone=True)

    async def _enter(self, *, alone: bool) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((alone, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(alone=alone)
            else:
                with suppress(ValueError):  # passed over by somebody who left in this very moment
                    self._queue.remove((alone, turn))
                self._admit()
            raise

    def _leave(self, *, alone: bool) -> None:
        if alone:
            self._alone = False
        else:
            self._sharing -= 1
        self._admit()

    def _admit(self) -> None:
        """Give a turn to whoever is first in the queue, as long as that is possible."""
        while self._queue and not self._alone:
            alone, turn = self._queue[0]
            if alone and self._sharing:
                return
            self._queue.popleft()
            if turn.cancelled():
                continue
            if alone:
                self._alone = True
            else:
                self._sharing += 1
            turn.set_result(None)
