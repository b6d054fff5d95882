"""The one way to the server: whether it is there, and what a call that fails means."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from service.errors import OutcomeUnknownError, UnavailableError
from service.stores.redis.connection import Limits, NotConnectedError, answering, describe, unavailable
from service.stores.redis.scripts import Script, Word

log = logging.getLogger(__name__)

LIMIT_S: Final = 5.0
"""Of a call, a write's fsync on a slow disk included."""

HURRY_S: Final = 1.0
"""Of reading what is known already, and would do."""

SILENT_S: Final = 0.2
"""The same, of a server that has not said a word for a while: requests with short deadlines are not to fail at it."""

LIMITS: Final = Limits(connect_s=1.0, call_s=LIMIT_S)


class StateObserver(Protocol):
    def state_up(self, up: bool) -> None: ...


class Link:
    """While the server is away every call fails at once: who finds out waits, and after that nobody does.

    Whoever finds it there again says so by `found` (`Pulse` does, by trying).
    """

    def __init__(self, client: Redis, observer: StateObserver) -> None:
        self.client = client
        self.away = False
        self._observer = observer
        self._refusal = ""

    async def read(self, script: Script, *arguments: Word, limit_s: float = LIMIT_S) -> Any:
        """Raises `UnavailableError`."""
        if self.away:
            raise unavailable()
        return await self.ask(script, *arguments, limit_s=limit_s)

    async def write(self, script: Script, *arguments: Word) -> Any:
        """Never sent twice. Raises `UnavailableError` when nothing was written, and `OutcomeUnknownError`."""
        try:
            return await self.read(script, *arguments)
        except UnavailableError as error:
            if error.__cause__ is None or isinstance(error.__cause__, NotConnectedError | ResponseError):
                raise
            raise _outcome_unknown() from error

    async def ask(self, script: Script, *arguments: Word, limit_s: float) -> Any:
        """As `read`, also while the server is believed to be away."""
        try:
            async with answering("running a script", limit_s=limit_s):
                return await script.run(self.client, *arguments)
        except UnavailableError as error:
            self._failed(error.__cause__)
            raise

    async def start_over(self) -> None:
        """Use no connection again: they stay with the server they were made to, wherever its address leads by now."""
        pool = self.client.connection_pool
        with suppress(RedisError, OSError):
            await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]  # theirs
            await pool.disconnect(inuse_connections=False)

    def found(self) -> None:
        self._observer.state_up(True)
        self._refusal = ""
        if self.away:
            self.away = False
            log.info("the state's Redis answers again")

    def _failed(self, cause: BaseException | None) -> None:
        self._observer.state_up(False)
        if isinstance(cause, ResponseError):
            # It is there and refuses: no memory left, a replica, a failed save, a user without the right.
            self.away = False
            # Without the script that was refused, which Redis names behind its reason, and before version 7 in front.
            refusal = describe(cause).partition(" script: ")[0].rpartition(": -")[2]
            if refusal != self._refusal:  # said once, and not at every beat
                log.error("the state's Redis refused a call: %s", refusal)
            self._refusal = refusal
            return
        if not self.away:
            self.away = True
            reason = describe(cause) if cause else "unknown"
            log.warning("the state's Redis is away; what is known is still served, writes are refused: %s", reason)


def is_replica(error: UnavailableError) -> bool:
    """Whether it was refused since the server became one."""
    cause = error.__cause__
    return isinstance(cause, ReadOnlyError) or "-READONLY" in str(cause)  # the second: before Redis 7


def _outcome_unknown() -> OutcomeUnknownError:
    return OutcomeUnknownError(
        "The server's state did not answer, so it is not known whether this was done. Look before you send it again."
    )
