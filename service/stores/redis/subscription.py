"""Hears of every change that any process makes, and knows how long ago it would have heard of one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from service.stores.redis.connection import describe
from service.stores.redis.scripts import CHANGES

log = logging.getLogger(__name__)

PING_S: Final = 0.25
HEARS_S: Final = 1.0
"""How long after a ping that was answered changes count as heard of. No answer to a request is older than this."""

SILENCE_S: Final = 3.0
"""A connection without an answer for so long is given up for a new one."""

RETRY_S: Final = 0.5


class Subscription:
    """`changed` is called with the name of each label set that changed, or with None: any may have.

    Redis keeps the order: the answer to a ping comes after all changes that were published before it was sent.
    """

    def __init__(self, client: Redis, changed: Callable[[str | None], None]) -> None:
        self._client = client
        self._changed = changed
        self._heard_s = -HEARS_S
        self._outdated = False

    def hears(self) -> bool:
        """Whether whatever changed until a moment ago has been told by now."""
        return time.monotonic() - self._heard_s < HEARS_S

    def renew(self) -> None:
        """Follow over a new connection: the one that is open may lead to a server that nobody writes to any more."""
        self._heard_s = -HEARS_S
        self._outdated = True

    async def run(self) -> None:
        """Follow for ever, over one connection after the other."""
        while True:
            try:
                async with self._client.pubsub() as listening:
                    await self._follow(listening)
            except (RedisError, OSError, TimeoutError) as error:
                log.debug("not following changes: %s", describe(error))
            except Exception:  # it would never be heard of a change again, and each request would have to ask
                log.exception("following changes failed")
            self._heard_s = -HEARS_S
            await asyncio.sleep(RETRY_S)

    async def _follow(self, listening: PubSub) -> None:
        self._outdated = False
        await listening.subscribe(CHANGES)
        answered_s = time.monotonic()
        pinged_s = answered_s - PING_S
        while not self._outdated:
            now_s = time.monotonic()
            if now_s - answered_s > SILENCE_S:
                raise TimeoutError("no answer to pings")
            if now_s - pinged_s >= PING_S:
                await listening.ping(repr(now_s))
                pinged_s = now_s
            message = await listening.get_message(timeout=PING_S)
            if message is not None and message["type"] == "pong":
                answered_s = time.monotonic()
            self._hear(message)

    def _hear(self, message: dict[str, Any] | None) -> None:
        match message:
            case {"type": "message", "data": bytes(name)}:
                self._changed(name.decode())
            case {"type": "pong", "data": bytes(sent)}:
                self._heard_s = float(sent)
            case {"type": "subscribe"}:
                # From here on every change is told. What was known before may have changed unheard.
                self._heard_s = -HEARS_S
                self._changed(None)
