"""Which of the processes that share a server are alive, told by leases; and whether the server itself is.

Locks, as the state in a file has them, reach no further than one machine. A lease is a key that ends by itself unless
its owner renews it at every beat. It ends too while the server is away and nobody can renew it. So nobody is judged
dead by a process that has not reached the server itself, beat after beat, for a whole lease: by then all the living
have renewed theirs. An owner that was paused for longer than a lease, or that alone cannot reach the server, is dead to
the others; when it comes back it finds its jobs ended, and activates nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from service.errors import UnavailableError
from service.stores.redis.link import HURRY_S, Link, is_replica
from service.stores.redis.scripts import BEAT, LEAVE

log = logging.getLogger(__name__)

LIMIT_S: Final = 3.0
"""Of a beat: short enough that the next one still comes within the lease."""

GONE_FOR_S: Final = 86_400.0
"""How long it is remembered that a process left in order: until long after somebody looked for its jobs."""


@dataclass(frozen=True, slots=True)
class Timing:
    """`beat_s`: between two beats, and so how soon it is seen that the server is back, or has lost everything.

    `lease_s`: how long a process is believed alive after its last beat.
    """

    beat_s: float = 0.5
    lease_s: float = 15.0

    @property
    def gap_s(self) -> float:
        """Two beats further apart than this are a pause, of the server, of this process or of its clock."""
        return self.lease_s / 3


DEFAULT_TIMING: Final = Timing()


class Pulse:
    """`lost` is called when what the server held is gone or another server is to be looked for; `returned` when it
    answers first, and again after each time away."""

    def __init__(
        self, link: Link, timing: Timing, *, lost: Callable[[], None], returned: Callable[[], Awaitable[None]]
    ) -> None:
        self.owner = secrets.token_hex(8)
        self.timing = timing
        self._link = link
        self._lost = lost
        self._returned = returned
        self._epoch: bytes | None = None
        self._steady_since_s: float | None = None
        self._last_s = 0.0

    @property
    def is_steady(self) -> bool:
        """Whether the server was reached at every beat of a whole lease, up to now."""
        now_s, since_s = time.monotonic(), self._steady_since_s
        if since_s is None or now_s - self._last_s > self.timing.gap_s:
            return False
        return now_s - since_s >= self.timing.lease_s

    async def beat(self) -> None:
        """Renew the lease. Raises `UnavailableError`."""
        began_s = time.monotonic()
        lease_ms = round(self.timing.lease_s * 1e3)
        try:
            epoch = await self._link.ask(BEAT, self.owner, lease_ms, secrets.token_hex(8), limit_s=LIMIT_S)
        except UnavailableError as error:
            self._steady_since_s = None
            if is_replica(error):
                await self._start_over()
            raise
        if self._steady_since_s is None or time.monotonic() - self._last_s > self.timing.gap_s:
            self._steady_since_s = began_s
        self._last_s = time.monotonic()
        first, back = self._epoch is None, self._link.away
        if not first and epoch != self._epoch:
            log.error("the state's Redis lost or exchanged what it held; what others know of it is dropped")
            await self._start_over()
        self._epoch = epoch
        self._link.found()
        if first or back:
            await self._returned()

    async def _start_over(self) -> None:
        await self._link.start_over()
        self._lost()

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            await asyncio.sleep(self.timing.beat_s)
            try:
                await self.beat()
            except UnavailableError:
                continue  # the link has said so
            except Exception:  # without beats the server would stay away for ever, and this process' jobs would be lost
                log.exception("a beat failed")

    async def leave(self) -> None:
        """What this process leaves unfinished is nobody's from now on."""
        try:
            await self._link.read(LEAVE, self.owner, round(GONE_FOR_S * 1e3), limit_s=HURRY_S)
        except UnavailableError:
            log.info("the lease on this process' jobs could not be given back; it ends by itself")
