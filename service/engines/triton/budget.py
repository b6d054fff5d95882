"""How much may be on its way at once, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque


class RowBudget:
    """At most `rows` rows held at once. A large batch is not overtaken by small ones that came later."""

    def __init__(self, rows: int) -> None:
        self._free = rows
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, rows: int) -> None:
        if not self._waiting and rows <= self._free:
            self._free -= rows
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._grant()  # without this one, which may have stood before others
            else:  # granted in the very moment in which the caller gave up
                self.release(rows)
            raise

    def release(self, rows: int) -> None:
        self._free += rows
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            rows, turn = self._waiting[0]
            if not turn.cancelled():  # whoever gave up is told so later than its turn is
                if rows > self._free:
                    return
                self._free -= rows
                turn.set_result(None)
            self._waiting.popleft()
