"""For what can do without Redis: one that is away or slow is left alone for a moment, and its callers go on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from redis.exceptions import RedisError

from service.stores.redis.connection import describe

log = logging.getLogger(__name__)

PAUSE_S: Final = 1.0
GRACE_S: Final = 0.01

T = TypeVar("T")


class Breaker:
    """Used from the event loop alone. After a failure nobody asks for `PAUSE_S`; then one caller tries.

    Who waits leaves after `limit_s`, and the call goes on to the limits of its client: a connection that takes longer
    to be made would else be given up and begun anew for ever.
    """

    def __init__(
        self,
        purpose: str,
        limit_s: float,
        on_failure: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`purpose` begins a sentence in the log; `limit_s` is how long a caller waits in all."""
        self._purpose = purpose
        self._limit_s = limit_s
        self._on_failure = on_failure
        self._clock = clock
        self._away = False
        self._again_s = clock()
        self._running: set[asyncio.Future[Any]] = set()

    @property
    def is_open(self) -> bool:
        """Whether Redis is left alone now."""
        return self._away and self._clock() < self._again_s

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """The call's result; None when Redis failed or is left alone. An outage is one line in the log."""
        if self.is_open:
            return None
        was_away = self._away
        # While one tries whether it is back, the others go on without.
        self._again_s = self._clock() + PAUSE_S
        running = asyncio.ensure_future(call())
        self._running.add(running)
        running.add_done_callback(self._ended)
        try:
            await asyncio.wait([running], timeout=self._limit_s)
            if not running.done():  # or not looked at yet, where the event loop was held up for as long
                await asyncio.wait([running], timeout=GRACE_S)
            if not running.done():
                raise TimeoutError(f"no answer within {self._limit_s:g} s")
            result = running.result()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None
        if was_away and self._away:  # an answer to what was asked before the outage says nothing about it
            self._away = False
            log.info("%s: Redis is back", self._purpose)
        return result

    async def close(self) -> None:
        """Ends what still runs."""
        for each in self._running:
            each.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._running.discard(call)
        if not call.cancelled():
            call.exception()  # nobody may be left to ask how it ended

    def _failed(self, error: BaseException) -> None:
        self._on_failure()
        self._again_s = self._clock() + PAUSE_S
        if not self._away:
            self._away = True
            log.warning("%s: Redis is away, so it is done without (%s)", self._purpose, describe(error))
