"""Work that goes on when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from service.deadline import Deadline
from service.errors import QuorumError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Tasks:
    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Errors that are not ours are logged, for there may be nobody else to see them."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    async def finish(self, work: Coroutine[Any, Any, T], deadline: Deadline, doing: str) -> T:
        """What `work` gives, which runs to its end even where its caller leaves or has no time left."""
        return await deadline.wait_for(asyncio.shield(self.spawn(work)), doing)

    async def close(self, within_s: float) -> None:
        """Wait for what is running; what takes longer is cancelled."""
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=within_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=within_s)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, QuorumError):
            log.error("work on a gallery failed", exc_info=error)
