"""What is amiss with a server that is to be a cache, said once in the log with what to do about it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from service.stores.redis.breaker import Breaker
from service.stores.redis.connection import is_redis

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheAdvice:
    """`shares_state`: the cache's address is that of a server which keeps state."""

    shares_state: bool

    @classmethod
    def of(cls, cache_url: str, state_url: str) -> CacheAdvice:
        return cls(is_redis(state_url) and _server(cache_url) == _server(state_url))

    async def give(self, client: Redis, breaker: Breaker) -> None:
        if self.shares_state:
            log.warning(
                "QUORUM_CACHE_URL and QUORUM_STATE_URL name the same Redis server. A cache has to evict and state must "
                "not, and a server has one memory policy for all its databases: give the cache a server of its own"
            )
        policy = await breaker.ask(lambda: _policy(client))
        if policy == "noeviction":
            log.warning(
                "the cache's Redis server has maxmemory-policy noeviction: once its memory is full it keeps what is "
                "old and refuses what is new. Set maxmemory, and maxmemory-policy allkeys-lru"
            )
        elif policy == "":
            log.info("the cache's Redis server does not tell its maxmemory-policy; it should be allkeys-lru")


async def _policy(client: Redis) -> str:
    """Empty when this user may not ask, or the server has no such thing."""
    try:
        answer = await client.config_get("maxmemory-policy")
    except ResponseError:
        return ""
    found = {_text(name): _text(value) for name, value in answer.items()}
    return found.get("maxmemory-policy", "")


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _server(url: str) -> tuple[str, int, str]:
    """Without user, password and database: what is left is who gets asked."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return "", 0, parts.path
    return parts.hostname or "", parts.port or 6379, ""
